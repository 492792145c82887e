"""What is sent starts with what was sent before, and only cache marks are added."""

import copy
import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.exceptions import ApplicationError

from activities.conversation import SPACING, lifetime_after, next_question, render
from activities.prices import Lifetime
from activities.prompt import prefix
from activities.rows import Role, Row, dump
from activities.transcript import ToolResult
from starter.local.model.prefix import units
from starter.local.model.prompt_cache import PromptCache
from starter.local.model.request_rules import check_cache_marks
from workflows.catalogue import definitions

TEXTS = st.text(min_size=1, max_size=20)


def row(number: int, role: Role, content: Any) -> Row:
    return Row(id=number, build_id="b", parent_id=number - 1 or None, role=role, body=dump(content))


def words(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text}]


def result(tool_use_id: str, content: str = "done") -> ToolResult:
    block = {"type": "tool_result", "tool_use_id": tool_use_id, "content": content}
    return ToolResult(tool_use_id=tool_use_id, body=dump(block), preview="", is_error=False, generation=1)


def calls(*ids: str) -> Row:
    blocks = [{"type": "tool_use", "id": each, "name": "bash", "input": {}} for each in ids]
    return row(3, "assistant", words("I look.") + blocks)


ROOT = row(1, "system", prefix(definitions()))


def unmarked(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: unmarked(each) for key, each in value.items() if key != "cache_control"}
    return [unmarked(each) for each in value] if isinstance(value, list) else value


def marks(value: Any) -> int:
    return dump(value).count('"cache_control"')


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=8), TEXTS)
def test_each_request_starts_with_the_one_before(turns: list[tuple[str, str]], question: str):
    """Without the marks, tools, system and messages of a request are the start of the next one's."""
    path, requests = [ROOT], []
    for asked, answered in turns:
        requests.append(render(path, dump(words(asked))))
        path += [row(len(path) + 1, "user", words(asked)), row(len(path) + 2, "assistant", words(answered))]
    requests.append(render(path, dump(words(question))))

    for earlier, later in pairwise(requests):
        assert unmarked(earlier.tools) == unmarked(later.tools)
        assert unmarked(earlier.system) == unmarked(later.system)
        assert unmarked(earlier.messages) == unmarked(later.messages)[: len(earlier.messages)]


def test_marks_are_where_the_cache_is_written_and_read():
    """Four marks: last tool, system, the end, and the end of the request before; none is stored."""
    path = [ROOT, row(2, "user", words("a")), calls("t1"), row(4, "user", words("b")), calls("t2")]
    before = copy.deepcopy(path)
    sent = render(path, dump(words("c")))

    assert [marks(each) for each in sent.messages] == [0, 0, 1, 0, 1]
    assert (marks(sent.tools), marks(sent.tools[-1]), marks(sent.system[-1])) == (1, 1, 1)
    assert path == before


def many(kind: str, number: int) -> list[dict[str, Any]]:
    ids = [f"{kind}{index}" for index in range(number)]
    if kind == "use":
        return [{"type": "tool_use", "id": each, "name": "bash", "input": {}} for each in ids]
    return [{"type": "text", "text": each} for each in ids]


def test_a_long_turn_has_a_mark_of_its_own():
    """After 15 blocks the spare mark breaks up a long turn; thinking, which takes none, is passed over."""
    thought = {"type": "thinking", "thinking": "hm", "signature": "x"}
    path = [
        ROOT,
        row(2, "user", words("a")),
        row(3, "assistant", [*many("use", SPACING - 1), thought, *many("text", 9)]),
    ]
    sent = render(path, dump(many("text", 12)))
    content = [block for message in sent.messages for block in message["content"]]

    assert [0, SPACING - 1, len(content) - 1] == [
        place for place, block in enumerate(content) if "cache_control" in block
    ]
    assert (marks(sent.tools), marks(sent.system)) == (0, 1)


@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=6),
    st.sampled_from(["5m", "1h"]),
)
def test_however_long_a_turn_all_that_was_sent_is_read_from_the_cache(
    turns: list[tuple[int, int]], lifetime: Lifetime
):
    """Never more than four marks, and each request reads at least all that the one before held."""
    cache, path, sent_before = PromptCache(), [ROOT], 0
    question = dump(words("word " * 3_000))
    for answered, asked in turns:
        request = render(path, question, lifetime=lifetime)
        body = {"tools": request.tools, "system": request.system, "messages": request.messages}
        check_cache_marks(body)
        found = units(body)

        assert cache.serve(found).cache_read_input_tokens >= sent_before
        sent_before = found[-1].total
        path += [row(len(path), "user", json.loads(question)), row(0, "assistant", many("use", answered))]
        question = dump(many("text", asked))


@pytest.mark.parametrize(
    ("given", "lifetime"),
    [
        ({"command": "make", "timeout_seconds": 600}, "1h"),
        ({"command": "serve", "background": True}, "1h"),
        ({"command": "ls", "timeout_seconds": 30}, "5m"),
        ({"malformed_json": "{"}, "5m"),
        ({"timeout_seconds": "600"}, "5m"),
    ],
)
def test_slow_commands_make_the_cache_live_longer(given: dict[str, Any], lifetime: str):
    """A command that may outlive five minutes is followed by marks of an hour, for three replies."""
    slow = row(3, "assistant", [{"type": "tool_use", "id": "t", "name": "bash", "input": given}])
    path = [ROOT, row(2, "user", words("a")), slow]
    later = [*path, *(row(number, "assistant", words("b")) for number in range(4, 7))]

    assert lifetime_after(path) == lifetime_after(later[:-1]) == lifetime
    assert lifetime_after(later) == "5m"


def test_reply_without_content_is_not_sent():
    """An empty assistant message would be refused."""
    path = [ROOT, row(2, "user", words("a")), row(3, "assistant", [])]

    assert [each["role"] for each in render(path, dump(words("b"))).messages] == ["user", "user"]


def test_thinking_of_other_models_is_not_sent():
    """It is left out of their replies, whole replies of nothing else too; one's own stays as it came."""
    thought = {"type": "thinking", "thinking": "hm", "signature": "x"}
    hidden = {"type": "redacted_thinking", "data": "x"}
    path = [
        ROOT,
        row(2, "user", words("a")),
        row(3, "assistant", [thought, *words("b")]),
        row(4, "user", words("c")),
        row(5, "assistant", [hidden]),
        row(6, "user", words("d")),
        row(7, "assistant", [thought, hidden, *words("e")]),
    ]
    sent = render(path, dump(words("f")), foreign={3, 5}).messages

    assert ["user", "assistant", "user", "user", "assistant", "user"] == [each["role"] for each in sent]
    assert [words("b"), [thought, hidden, *words("e")]] == [
        each["content"] for each in sent if each["role"] == "assistant"
    ]


def test_results_come_in_call_order_before_notes():
    """Results in the order of the calls, whatever finished first; then each note that says something."""
    results = {"t2": result("t2"), "t1": result("t1")}
    question = json.loads(next_question(calls("t1", "t2"), results, ["n1", " ", "n2"]))

    assert [each.get("tool_use_id") or each["text"] for each in question] == ["t1", "t2", "n1", "n2"]


def test_missing_result_is_a_bug():
    """A call without a result names itself and is not retried."""
    with pytest.raises(ApplicationError, match="t2") as caught:
        next_question(calls("t1", "t2"), {"t1": result("t1")}, [])

    assert caught.value.non_retryable


def test_reply_without_calls_needs_a_note():
    """There must be something to answer a finished turn with."""
    with pytest.raises(ApplicationError, match="note"):
        next_question(row(3, "assistant", words("Done.")), {}, [])


def test_first_message_is_its_own_question():
    """Nothing is appended to the first message unless there is a note."""
    first = row(2, "user", words("Build it."))

    assert next_question(first, {}, []) == ""
    assert json.loads(next_question(first, {}, ["note"])) == words("note")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda s: st.lists(s) | st.dictionaries(st.text(), s),
    )
)
def test_stored_text_is_what_is_sent(value: Any):
    """Reading a body and dumping it again gives the same text."""
    assert dump(json.loads(dump(value))) == dump(value)


def test_lone_surrogates_are_replaced():
    """What no UTF-8 can hold does not reach the database or the wire."""
    assert dump({"a": "x\ud800y\U0001f600"}) == '{"a":"x\ufffdy\U0001f600"}'
