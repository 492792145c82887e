"""What the workflow is told of a written tool result: the same whichever attempt asks. Pure."""

import json
from typing import Any

from activities.transcript import ToolResult
from workflows.turns import ToolCall, ToolOutcome


def outcome_of(kept: ToolResult, call: ToolCall, *, generation: int) -> ToolOutcome:
    """Tell of a result as it counts in the sandbox of this generation.

    One that was written in an earlier one, by an attempt that nobody heard, changed no file of this one.
    """
    effects: dict[str, Any] = json.loads(kept.effects)
    told = ToolOutcome(
        tool_use_id=kept.tool_use_id,
        preview=kept.preview,
        is_error=kept.is_error,
        digest=kept.digest,
        **effects,
    )
    if kept.generation == generation:
        return told
    undone = call.changing and told.has_effect
    return told.model_copy(update={"captured": 0, "uncaptured": False, "running": None, "undone": undone})
