"""A reply is put together once, and only a whole one is a reply."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from anthropic._models import construct_type
from anthropic.types import RawMessageStreamEvent
from pydantic import TypeAdapter

from activities.metering import FASTEST
from activities.prices import Usage
from activities.reply import CutStream, Reply

EVENT: TypeAdapter[RawMessageStreamEvent] = TypeAdapter(RawMessageStreamEvent)
START: dict[str, Any] = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-5-5",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": 10,
            "output_tokens": 1,
            "cache_read_input_tokens": 100,
            "cache_creation_input_tokens": 20,
        },
    },
}
END = {
    "type": "message_delta",
    "delta": {"stop_reason": "tool_use", "stop_sequence": None},
    "usage": {"output_tokens": 7},
}
STOP = {"type": "message_stop"}


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def text(index: int, *parts: str) -> list[dict[str, Any]]:
    deltas = [{"type": "text_delta", "text": part} for part in parts]
    return block(index, {"type": "text", "text": ""}, *deltas)


def tool(index: int, *parts: str) -> list[dict[str, Any]]:
    start = {"type": "tool_use", "id": "toolu_1", "name": "bash", "input": {}}
    return block(index, start, *({"type": "input_json_delta", "partial_json": part} for part in parts))


def read(*events: dict[str, Any], clock: Callable[[], float] = float) -> Reply:
    reply = Reply(clock)
    for event in events:
        reply.add(EVENT.validate_python(event))
    return reply


def test_blocks_come_together_in_order():
    """Text, thinking with its signature and tool input are each joined from their parts."""
    thinking = block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "hm"},
        {"type": "thinking_delta", "thinking": "m"},
        {"type": "signature_delta", "signature": "c2ln"},
    )
    reply = read(START, *thinking, *text(1, "I ", "look."), *tool(2, '{"comm', 'and": "ls"}'), END, STOP)

    assert json.loads(reply.body()) == [
        {"type": "thinking", "thinking": "hmm", "signature": "c2ln"},
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "toolu_1", "name": "bash", "input": {"command": "ls"}},
    ]
    assert reply.stop_reason == "tool_use"


def test_usage_counts_all_input():
    """Input is what was new, read from and written to the cache; output is the last count."""
    assert read(START, END).usage == Usage(
        input_tokens=130, cache_read_tokens=100, cache_write_tokens=20, output_tokens=7
    )


def test_lifetimes_of_what_was_written_are_told_apart():
    """The part of the written tokens that lives an hour is known from the first event, and kept."""
    start = copy.deepcopy(START)
    start["message"]["usage"]["cache_creation"] = {
        "ephemeral_5m_input_tokens": 5,
        "ephemeral_1h_input_tokens": 15,
    }

    assert read(start, END).usage == Usage(
        input_tokens=130,
        cache_read_tokens=100,
        cache_write_tokens=20,
        cache_write_1h_tokens=15,
        output_tokens=7,
    )


@pytest.mark.parametrize("events", [(), (START,), (START, *text(0, "half")), (START, *text(0, "all"), END)])
def test_stream_without_its_end_is_no_reply(events: tuple[dict[str, Any], ...]):
    """Without `message_stop` nothing is a reply, however whole it looks."""
    with pytest.raises(CutStream):
        read(*events).body()


@pytest.mark.parametrize("whole", [text(0, "all"), tool(0, '{"command": "ls"}')])
def test_block_without_its_end_is_no_reply(whole: list[dict[str, Any]]):
    """A tool whose input never ended would be run without it."""
    with pytest.raises(CutStream):
        read(START, *whole[:-1], END, STOP).body()


@pytest.mark.parametrize(
    "event",
    [
        {"type": "content_block_delta", "index": 7, "delta": {"type": "text_delta", "text": "x"}},
        {"type": "content_block_stop", "index": 7},
        {"type": "message_start"},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        {"type": "message_delta", "usage": {"output_tokens": 7}},
        {"type": "content_block_start", "index": 0},
    ],
)
def test_event_that_does_not_fit_is_a_cut_stream(event: dict[str, Any]):
    """The vendor's client makes events without checking them; a hole in one is the stream's fault."""
    made = construct_type(value=event, type_=RawMessageStreamEvent)
    with pytest.raises(CutStream):
        read(START).add(made)


def test_reason_of_a_refusal_is_kept():
    """What the provider says of why the model declined, and the policy's category."""

    def why(**details: str | None) -> str:
        delta = {"stop_reason": "refusal", "stop_details": {"type": "refusal", **details}}
        return read(START, END | {"delta": delta}).why_refused

    assert why(category="cyber", explanation="No malware.") == "No malware. (category cyber)"
    assert why(category=None, explanation="No malware.") == "No malware."
    assert why(category="cyber", explanation=None) == "category cyber"
    assert why(category=None, explanation=None) == ""


THINKING = block(0, {"type": "thinking", "thinking": "", "signature": ""})


def used(*events: dict[str, Any], times: list[float], most: int = 16_000) -> int:
    """The output of a stream that was left; the times: asked for, each shown block began and ended, now."""
    return read(START, *events, clock=iter(times).__next__).used(Usage(), most=most).output_tokens


def test_what_is_shown_is_counted_by_its_bytes():
    """A token has two bytes at least, and a block's frame counts; what a later event tells is no less."""
    bare, more = (used(*text(0, "x" * size)[:-1], times=[0, 0]) for size in (0, 3_000))

    assert more - bare == 1_500
    assert used(*text(0), END, times=[0, 0, 0, 0]) > 7
    assert used(*text(0), END | {"usage": {"output_tokens": 9_000}}, times=[0, 0, 0, 0]) == 9_000


@pytest.mark.parametrize("shown", [(), THINKING[:1], THINKING], ids=["nothing", "a beginning", "an end"])
def test_hidden_thinking_is_bounded_by_its_time(shown: tuple[dict[str, Any], ...]):
    """Where nothing is shown, as much is counted as the fastest model can have thought until now."""
    soon, later = (used(*shown, times=[0, seconds]) for seconds in (1, 11))

    assert later - soon == 10 * FASTEST
    assert used(*shown, times=[0, 3_600]) == 16_000


def test_time_in_which_words_come_is_not_counted():
    """Only the time before a block that is shown, and after it, may hide thinking."""
    assert (
        used(*THINKING, *text(1), times=[0, 2, 50, 53]) - used(*THINKING, *text(1), times=[0] * 4)
        == 5 * FASTEST
    )


@pytest.mark.parametrize("given", ['{"command": "rm -r', "[1]", '{"a": NaN}', "nonsense"])
def test_broken_tool_input_is_kept_and_cannot_be_run(given: str):
    """A tool's input that is no JSON object never turns into a shorter one."""
    reply = read(START, *tool(0, given), END, STOP)

    assert json.loads(reply.body())[0]["input"] == {"malformed_json": given}


def test_tool_without_input_has_an_empty_one():
    """No delta at all means no arguments."""
    assert json.loads(read(START, *tool(0), END, STOP).body())[0]["input"] == {}


def test_empty_text_is_left_out():
    """An empty text block would be refused when it is sent back."""
    assert json.loads(read(START, *text(0), *text(1, "x"), END, STOP).body()) == [
        {"type": "text", "text": "x"}
    ]


def test_text_is_told_as_it_comes():
    """Only text for people is handed on while streaming."""
    reply = Reply()
    events = map(EVENT.validate_python, [START, *text(0, "a", "b"), *tool(1, "{}"), END, STOP])

    assert "".join(map(reply.add, events)) == "ab"
