"""A new epoch begins with what was said and done, as it stands in the rows."""

import json
from typing import Any

from activities.recap import RESULT_CHARS, recap
from activities.rows import Role, Row, dump
from activities.transcript import ToolResult

FIRST = [{"type": "text", "text": "# The founder's idea brief\n\nA page."}]


def rows(*contents: Any) -> list[Row]:
    made = [Row(id=1, build_id="b", parent_id=None, role="system", body="{}")]
    for content in contents:
        role: Role = "assistant" if made[-1].role == "user" else "user"
        made.append(Row(id=len(made) + 1, build_id="b", parent_id=made[-1].id, role=role, body=dump(content)))
    return made


def call(number: int, name: str, **given: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"t{number}", "name": name, "input": given}


def answer(number: int, content: Any = "ok", **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": f"t{number}", "content": content, **more}


def text(said: str) -> dict[str, str]:
    return {"type": "text", "text": said}


def told(
    story: list[Row], *, notes: tuple[str, ...] = (), results: dict[str, ToolResult] | None = None
) -> list[str]:
    return [block["text"] for block in json.loads(recap(story, results or {}, notes))]


STORY = rows(
    FIRST,
    [
        call(1, "narrate", message="We begin.", phase_name="Base"),
        call(2, "write_file", path="app.py", content="x"),
    ],
    [answer(1), answer(2), text("[founder] Make it blue."), text("[allowance] 80 % is spent.")],
    [text("Testing."), call(3, "bash", command="pytest -q"), call(4, "edit_file", path="bad.py")],
    [answer(3, "E" * 5_000 + "2 failed", is_error=True), answer(4, "no", is_error=True)],
    [call(5, "bash", command="pytest"), call(6, "document", section="faq", content="Q")],
)


def test_state_is_picked_out_of_the_rows():
    """The brief, narrations with phases, files, commands with their outcome, the guide and the notes."""
    first, state = told(STORY)

    assert first == FIRST[0]["text"]
    for line in (
        "- [Base] We begin.",
        "- app.py",
        "- failed: pytest -q",
        "- ok: pytest",
        "- faq",
        "- [founder] Make it blue.",
    ):
        assert line in state
    assert "- bad.py" not in state
    assert "80 %" not in state


def test_results_that_were_not_sent_yet_are_told():
    """The last turn's results stand in no row; they and the new notes are told too."""
    block = dump(answer(5, "all passed"))
    result = ToolResult(tool_use_id="t5", body=block, preview="", is_error=False, generation=1)
    _, state, note = told(STORY, results={"t5": result}, notes=("Go on.", " "))

    assert "bash: pytest\nall passed" in state
    assert note == "Go on."


def test_long_results_are_cut_in_the_middle():
    """Of a long result its head and tail are kept."""
    _, state = told(STORY)

    assert "2 failed" in state
    assert "E" * RESULT_CHARS not in state


def test_later_epoch_tells_the_whole_story():
    """The recap of an epoch that began with a recap holds both, once."""
    earlier = json.loads(recap(STORY, {}, ()))
    later = [*STORY, *rows(earlier, [call(7, "narrate", message="We go on.")])]
    first, state = told(later)

    assert first == FIRST[0]["text"]
    assert state.count("- [Base] We begin.") == state.count("# Where we are") == 1
    assert "We go on." in state


def test_broken_calls_do_no_harm():
    """A call whose input never validated is told like any other."""
    story = rows(FIRST, [call(1, "bash", malformed_json="{"), call(2, "write_file"), call(3, "unheard_of")])

    assert "# Where we are" in told(story)[1]
