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
    if kept.generation != generation:
        took_effect = effects.get("captured") or not effects.get("interrupted")
        effects |= {
            "captured": 0,
            "uncaptured": False,
            "running": None,
            "undone": bool(call.changing and took_effect),
        }
    return ToolOutcome(
        tool_use_id=kept.tool_use_id,
        preview=kept.preview,
        is_error=kept.is_error,
        digest=kept.digest,
        **effects,
    )
