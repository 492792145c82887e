"""Limits, repetition, and what follows a reply: pure functions."""

from enum import StrEnum

from workflows.turns import ModelReply, ToolCall

WINDOW = 10
"""Calls that the repetition guard looks back on."""
REPEATS = 3
"""Equal calls in the window that are a loop."""
MAX_NUDGES = 3
"""Replies in a row that may neither act nor end."""
MAX_PROOFS = 5
"""Failed proofs after which the build gives up."""
MAX_LOSSES = 10
"""Sandboxes that may be lost without a restore point in between."""


class Next(StrEnum):
    """What follows a reply."""

    ACT = "act"
    REPORT = "report"  # it says it is done; the checks decide
    NUDGE = "nudge"  # cut off or empty: say so and go on
    REFUSED = "refused"  # the model will not


_CUT_OFF = frozenset({"max_tokens", "model_context_window_exceeded", "", "none"})


def after_reply(reply: ModelReply) -> Next:
    """Decide by stop reason; tools of a reply that was cut off or refused are never run."""
    if reply.stop_reason == "refusal":
        return Next.REFUSED
    if reply.stop_reason in _CUT_OFF:
        return Next.NUDGE
    if reply.tool_calls:
        return Next.ACT
    return Next.REPORT if reply.stop_reason in ("end_turn", "stop_sequence") else Next.NUDGE


def nudge_for(stop_reason: str) -> str:
    """What the model is told after a reply that neither acted nor ended."""
    if stop_reason == "max_tokens":
        return "[nightshift] Your reply was cut off at its length limit. Go on in smaller steps."
    if stop_reason == "model_context_window_exceeded":
        return "[nightshift] The context is full. Finish what is begun with short calls."
    return "[nightshift] Go on with the plan, or end your turn when all of it is done."


NOT_RUN = "This call was not run: the reply that holds it was cut off. Make it again, in full."
"""Error result for the tool calls of a reply that was cut off."""

REPETITION_NOTE = (
    "[nightshift] You have made the same call three times with the same input. Its result will not change: "
    "look at what it says, then do something else."
)


def window_after(recent: tuple[str, ...], calls: tuple[ToolCall, ...]) -> tuple[str, ...]:
    """The digests of the last calls, newest last."""
    return (*recent, *(call.digest for call in calls))[-WINDOW:]


def is_loop(window: tuple[str, ...]) -> bool:
    """Tell whether one call fills too much of the window."""
    return any(window.count(digest) >= REPEATS for digest in set(window))


def batches(calls: tuple[ToolCall, ...]) -> tuple[tuple[ToolCall, ...], ...]:
    """Split a reply's calls: read-only ones in a row run side by side, each changing one alone, in order."""
    groups: list[tuple[ToolCall, ...]] = []
    for call in calls:
        if groups and not call.changing and not groups[-1][-1].changing:
            groups[-1] = (*groups[-1], call)
        else:
            groups.append((call,))
    return tuple(groups)
