"""Limits, repetition, and what follows a reply: pure functions."""

from enum import StrEnum

from workflows.catalogue import ToolName
from workflows.turns import Balance, ModelReply, ToolCall, ToolOutcome

WINDOW = 10
"""Calls that the repetition guard looks back on."""
REPEATS = 3
"""Equal calls in the window that are a loop."""
MAX_NUDGES = 3
"""Replies in a row that may neither act nor end."""
MAX_REMINDERS = 2
"""How often a model that says it is done is told of phases that have not begun; then the checks decide."""
SIDE_BY_SIDE = 8
"""Read-only calls that run at once."""
TELLING = frozenset({ToolName.NARRATE, ToolName.DOCUMENT})
"""Calls that tell the founder something: they change no file, yet their order counts."""
STALL_CALLS = 40
"""Calls at the worst price that a build may make without progress, however little the day allows."""
MAX_FAILING = 20
"""Failed commands that are remembered, to see one turn green."""
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


FULL_CONTEXT = "model_context_window_exceeded"
STOP_REASONS: dict[str, Next] = {
    "tool_use": Next.ACT,
    "end_turn": Next.REPORT,
    "stop_sequence": Next.REPORT,
    "refusal": Next.REFUSED,
    "max_tokens": Next.NUDGE,
    FULL_CONTEXT: Next.NUDGE,
    "pause_turn": Next.NUDGE,
    "compaction": Next.NUDGE,
    "none": Next.NUDGE,
    "": Next.NUDGE,
}
"""What each reason that the API knows means for the loop; one that it learns later is a nudge."""
_CUT_OFF = frozenset({"max_tokens", FULL_CONTEXT, "none", ""})
"""A call in such a reply may be half a call: it is never run."""
_NUDGES = {
    "max_tokens": "Your reply was cut off at its length limit. Go on in smaller steps.",
    FULL_CONTEXT: "The context is full. Finish what is begun with short calls.",
    "pause_turn": "Your turn was paused. Go on where you stopped.",
    "compaction": "The conversation was shortened. Go on where you stopped.",
}
_NUDGE = "Go on with the plan, or end your turn when all of it is done."


def after_reply(reply: ModelReply) -> Next:
    """Decide by stop reason; tools of a reply that was cut off or refused are never run."""
    following = STOP_REASONS.get(reply.stop_reason, Next.NUDGE)
    if following is Next.REFUSED or reply.stop_reason in _CUT_OFF:
        return following
    if reply.tool_calls:
        return Next.ACT
    return Next.NUDGE if following is Next.ACT else following


def nudge_for(stop_reason: str) -> str:
    """What the model is told after a reply that neither acted nor ended."""
    return f"[nightshift] {_NUDGES.get(stop_reason, _NUDGE)}"


NOT_RUN = "This call was not run: the reply that holds it was cut off. Make it again, in full."
"""Error result for the tool calls of a reply that was cut off."""

INTERRUPTED = "Not run: the founder interrupted. Make the call again if it is still needed."
"""Error result for the calls that had not begun when someone spoke."""
CUT_SHORT = (
    "Cut short: the founder interrupted. It may have taken effect in part; look before you make it again."
)
"""Error result for a call that had begun and whose own answer never came."""

UNDONE = (
    "Not run: the sandbox was lost, and finished calls that this one may build on were undone. See how the "
    "files are now, then decide."
)
"""Error result for the changing calls of a reply that was made before the model heard of it."""

OVER_LIMIT = "Not run: the build's limit of tool calls is reached."
"""Error result for the calls of a reply that go beyond the limit."""

REPETITION_NOTE = (
    "[nightshift] You have made the same call three times with the same input and got the same result. It "
    "will not change by itself: look at what it says, then do something else. If you wait for something, "
    "wait longer in one command, or do other work first."
)


def trace_of(call: ToolCall, outcome: ToolOutcome) -> str:
    """What the repetition guard remembers: a call with its result, so polling a log that grows is no loop."""
    return f"{call.digest}:{outcome.digest}" if outcome.digest else call.digest


def window_after(recent: tuple[str, ...], traces: tuple[str, ...]) -> tuple[str, ...]:
    """The traces of the last calls, newest last."""
    return (*recent, *traces)[-WINDOW:]


def is_loop(window: tuple[str, ...]) -> bool:
    """Tell whether one call with one result fills too much of the window."""
    return any(window.count(trace) >= REPEATS for trace in set(window))


def failing_after(failing: tuple[str, ...], call: ToolCall, outcome: ToolOutcome) -> tuple[str, ...]:
    """The commands that failed when they last ran, newest last, after one more call."""
    others = tuple(digest for digest in failing if digest != call.digest)
    if not (call.changing and outcome.is_error) or outcome.interrupted:
        return others
    return (*others, call.digest)[-MAX_FAILING:]


def is_progress(failing: tuple[str, ...], call: ToolCall, outcome: ToolOutcome) -> bool:
    """Tell whether a call moved the work on: a phase began, or a command that failed before turned green."""
    return begins_phase(outcome) or (call.digest in failing and not outcome.is_error)


def begins_phase(outcome: ToolOutcome) -> bool:
    """Tell whether a phase began that had not begun before: naming one again moves nothing."""
    return bool(outcome.phase) and not outcome.phase_again


class Stall(StrEnum):
    """How long money has gone without anything moving."""

    NONE = "none"
    TELL = "tell"  # what `patience` gives
    STOP = "stop"  # twice that, after it was told


def patience(balance: Balance | None) -> int:
    """What may go without progress, microdollars: a day's allowance, or many calls where the day is poor."""
    return max(balance.allowance, STALL_CALLS * balance.worst_case) if balance else 0


def stall_after(spent: int, most: int, *, told: bool) -> Stall:
    """Judge what was spent since the last progress, microdollars, against what may go without."""
    if most <= 0 or spent < most:
        return Stall.NONE
    if not told:
        return Stall.TELL
    return Stall.STOP if spent >= 2 * most else Stall.NONE


STALL_NOTE = (
    "[nightshift] A day's worth of money went by without a phase begun or a failing command turned green. "
    "Say with `narrate` what stands in the way, take the simplest way that works, and prove it with a check."
)


def reminder_for(open_phases: tuple[str, ...]) -> str:
    """What the model is told when it says that it is done and phases of the plan have not begun."""
    names = ", ".join(open_phases)
    return (
        f"[nightshift] These phases of the plan have not begun: {names}. Carry them out. If their work is "
        "done already, end your turn again: the checks decide."
    )


def batches(calls: tuple[ToolCall, ...]) -> tuple[tuple[ToolCall, ...], ...]:
    """Split a reply's calls, in order: read-only ones in a row side by side, each changing one alone.

    What is told the founder keeps its order: no batch holds two such calls.
    """
    groups: list[tuple[ToolCall, ...]] = []
    for call in calls:
        if groups and _may_join(call, groups[-1]):
            groups[-1] = (*groups[-1], call)
        else:
            groups.append((call,))
    return tuple(groups)


def _may_join(call: ToolCall, batch: tuple[ToolCall, ...]) -> bool:
    if call.changing or batch[-1].changing or len(batch) >= SIDE_BY_SIDE:
        return False
    return call.tool not in TELLING or all(one.tool not in TELLING for one in batch)
