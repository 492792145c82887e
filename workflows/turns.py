"""Payloads of a turn: the call of the model, its tool calls, and the day's money around them."""

from datetime import date, datetime
from enum import StrEnum

from workflows.files import SandboxRef
from workflows.payload import Payload


class ToolCall(Payload):
    """One tool_use of a reply; its input stays in the transcript."""

    tool_use_id: str
    """The model's id, unique in the reply."""
    tool: str
    """The tool's name as the model wrote it."""
    label: str
    """What a person reads: a command, a path, a message; at most 200 characters."""
    changing: bool = True
    """Whether it may change the workspace."""
    digest: str = ""
    """Of name and input, for the guards."""


class Balance(Payload):
    """A user's day, after the transaction that read it. Microdollars."""

    day: date
    """Local day of the user."""
    allowance: int
    settled: int = 0
    reserved: int = 0
    lost: int = 0
    worst_case: int = 0
    """Price of the dearest next call."""
    wakes_at: datetime | None = None
    """The local midnight after which the cycle may pay for a call again, UTC."""
    sleepers: int = 0
    """Builds due in the hour from then on, this one too; 0: not counted."""
    build_spent: int = 0
    """Settled and lost by this build so far."""
    build_left: int | None = None
    """What it may still spend in all; none: no limit but the days' own."""
    build_sandbox: int = 0
    """The part of `build_spent` that was sandbox time."""

    @property
    def left(self) -> int:
        """What may still be reserved today, microdollars; never below zero."""
        return max(0, self.allowance - self.settled - self.reserved - self.lost)


class CostRecord(Payload):
    """Asks for the day's numbers after a reply, and tells watchers."""

    build_id: str
    user: str
    head: int
    """The reply whose cost is shown."""


class AddMoney(Payload):
    """Adds money to a user's day, once."""

    build_id: str
    """Whose spending the balance tells."""
    user: str
    microdollars: int
    key: str
    """Names this addition; another attempt with it adds nothing."""


class WakeBuilds(Payload):
    """Wakes a user's running builds to look at the money again."""

    user: str
    but: str = ""
    """Workflow id of one that knows already."""


class ModelCall(Payload):
    """One request to the model, by reference."""

    build_id: str
    user: str
    model: str
    head: int
    """Newest row of the transcript: the first message, or the reply whose tools were run."""
    notes: tuple[str, ...] = ()
    """Text appended after the tool results, in order; kept forever in the transcript."""
    turn: int
    phase: str = ""
    plan_item: str = ""
    max_tokens: int = 16_000
    """Output ceiling, tokens."""
    compact: bool = False
    """Go on in a new epoch, as the last reply filled the context."""
    wound_down: bool = False
    """It had its last calls: buy nothing while the day is nearly spent."""


class Refusal(StrEnum):
    """Why no call was made; nothing was bought."""

    SPENT = "spent"  # the day's allowance does not cover the worst case
    BUSY = "busy"  # another build of the user holds the money
    TOO_DEAR = "too_dear"  # it would not fit a fresh day either
    USED_UP = "used_up"  # what the build may spend in all does not cover it; no sleep helps
    DISABLED = "disabled"  # the kill switch is off
    SUSPENDED = "suspended"  # the user is suspended


class ModelReply(Payload):
    """What came back: references, numbers and a preview."""

    refused: Refusal | None = None
    """Set: no reply, `head` is unchanged."""
    head: int = 0
    """Transcript row of the reply."""
    stop_reason: str = ""
    """As the API gave it."""
    preview: str = ""
    """The start of the text, for the Web UI."""
    tool_calls: tuple[ToolCall, ...] = ()
    """In the reply's order."""
    input_tokens: int = 0
    """All input, cache included."""
    cache_read_tokens: int = 0
    output_tokens: int = 0
    cost: int = 0
    """Settled, microdollars."""
    overrun: int = 0
    """What it cost above its reservation, microdollars."""
    balance: Balance | None = None
    """After settlement, or as it was when refused."""


class ToolRun(Payload):
    """One tool call to carry out, by reference."""

    build_id: str
    head: int
    """The reply that holds the call."""
    call: ToolCall
    sandbox: SandboxRef
    capture: bool = True
    """Whether a changing call is followed by a capture."""
    refuse: str = ""
    """Set: do not run it; this text is its error result."""


class ToolOutcome(Payload):
    """A tool call's result, in short; the whole stands in the transcript."""

    tool_use_id: str
    preview: str = ""
    """The start of the result."""
    is_error: bool = False
    interrupted: bool = False
    """The call was begun in a sandbox that is gone, or killed midway."""
    captured: int = 0
    """Number of the capture that holds its changes; 0: none."""
    uncaptured: bool = False
    """What it changed could not be captured, as where the disk is full."""
    undone: bool = False
    """It ended in a sandbox that was lost before anybody heard of it: its files went with that."""
    running: tuple[str, ...] | None = None
    """Commands that run in the background after it; none: not known."""
    phase: str = ""
    """Set by `narrate` to the phase it names."""
    phase_again: bool = False
    """That phase had begun before."""
    plan_item: str = ""
    """Set by `narrate` to the item of the plan that it begins."""
    digest: str = ""
    """Of the whole result, for the repetition guard."""

    @property
    def has_effect(self) -> bool:
        """Whether a changing call may have changed files: not one cut off of which nothing was captured."""
        return not self.interrupted or self.captured > 0
