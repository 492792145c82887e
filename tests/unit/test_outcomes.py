"""What the workflow is told of a result that is in the rows."""

import json

import pytest

from activities.outcomes import outcome_of
from activities.transcript import ToolResult
from workflows.turns import ToolCall

EFFECTS = {"captured": 3, "uncaptured": True, "running": ["server"], "phase": "Code"}


def kept(**effects: object) -> ToolResult:
    body = json.dumps({"type": "tool_result", "tool_use_id": "t1", "content": "ok"})
    return ToolResult(
        tool_use_id="t1", body=body, preview="ok", is_error=False, generation=1, effects=json.dumps(effects)
    )


def call(*, changing: bool) -> ToolCall:
    return ToolCall(tool_use_id="t1", tool="bash", label="ls", changing=changing)


def test_in_its_own_sandbox_a_result_has_all_its_effects():
    """Whichever attempt asks is told the same."""
    told = outcome_of(kept(**EFFECTS), call(changing=True), generation=1)

    assert (3, True, ("server",), "Code") == (told.captured, told.uncaptured, told.running, told.phase)
    assert not told.undone


def test_in_another_sandbox_a_result_has_only_what_the_rows_keep():
    """Files and processes went with the sandbox; a phase that was named stays named."""
    told = outcome_of(kept(**EFFECTS), call(changing=True), generation=2)

    assert (0, False, None, "Code") == (told.captured, told.uncaptured, told.running, told.phase)


@pytest.mark.parametrize(
    ("changing", "effects", "undone"),
    [
        (True, {}, True),
        (True, {"captured": 1}, True),
        (True, {"interrupted": True}, False),
        (True, {"interrupted": True, "captured": 1}, True),
        (False, {}, False),
    ],
)
def test_undone_is_what_would_have_been_to_save(*, changing: bool, effects: dict, undone: bool):
    """A call that says of itself that nobody knows is not called finished, unless its changes were kept."""
    assert undone == outcome_of(kept(**effects), call(changing=changing), generation=2).undone
