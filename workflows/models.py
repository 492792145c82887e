"""Payloads of a build as a whole: what a founder hands over, how it is prepared, ends and is asked about."""

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, JsonValue

from workflows.branches import ForkPoint
from workflows.payload import Payload

Cadence = Literal["call", "turn", "phase"]
"""Snapshots after each changing call, each turn that changed something, or each phase."""
MOST_TOOL_CALLS = 100_000
"""The highest limit of tool calls that can be set, whatever the plan."""
MOST_MONEY = 1_000_000_000_000_000
"""The highest budget of a build, microdollars; a billion dollars is no limit."""


class Answer(Payload):
    """One answered question of the understanding session."""

    question: str
    """As it was asked."""
    answer: str
    """As the founder answered; unanswered questions are dropped."""


class PlanPhase(Payload):
    """One phase of the build plan."""

    name: str
    """Shown to the founder while it runs."""
    items: tuple[str, ...] = ()
    """What is to be built, in order."""


class BuildPlan(Payload):
    """What to build, and how it is proven."""

    goal: str = ""
    """One sentence."""
    phases: tuple[PlanPhase, ...] = ()
    """In order."""
    checks: tuple[str, ...] = ()
    """Shell commands that must exit 0 in the workspace; empty: found from the files."""
    start: str = ""
    """Shell command that serves the app on $PORT; empty: found from the files."""


class BuildRequest(Payload):
    """What starts a build. Only `idea` or `idea_brief` or a known `project` or `fork` is needed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    idea: str = ""
    """The idea in a sentence, for a start by hand."""
    project: Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$|^$")] = ""
    """Project id; empty: a name made from the workflow id."""
    user: Annotated[str, Field(max_length=200)] = "local"
    """Who pays."""
    idea_brief: dict[str, JsonValue] = Field(default={})
    """The brief; empty: the project's stored brief, else made from `idea`."""
    answers: tuple[Answer, ...] = ()
    """Answered questions; empty: the project's newest understanding session."""
    build_plan: BuildPlan = BuildPlan()
    """The plan; empty: the model makes its own."""
    model: str = ""
    """A model id; empty: resolved from the user's plan."""
    max_tool_calls: Annotated[int, Field(ge=1, le=MOST_TOOL_CALLS)] = 150
    """The guard's limit, raised by `set_limit` while running."""
    turns_per_run: Annotated[int, Field(ge=0)] = 0
    """Turns after which the run continues as new; 0: when the server suggests it."""
    fork: ForkPoint | None = None
    """Go on from a restore point of another build, in its project; `idea` is then a word to the agent."""
    budget_microdollars: Annotated[int, Field(ge=0, le=MOST_MONEY)] = 0
    """What this build may spend in all, on all its days; 0: no limit but the days' own."""


class PrepareBuild(Payload):
    """Asks for a build's rows."""

    request: BuildRequest
    """Validated and cleaned."""
    build_id: str = ""
    """The run that its chain began with, also after a reset; empty: the run that asks."""


class PreparedBuild(Payload):
    """A build that may start."""

    build_id: str
    """Stable over retry, reset and continue-as-new."""
    project: str
    """Resolved project id."""
    user: str
    """Who pays."""
    number: int
    """N of build_v0_N."""
    model: str
    """Resolved once; fixed for the build."""
    head: int
    """Transcript row of the first message."""
    timezone: str = "UTC"
    """IANA name of the user's day."""
    restore_point: int | None = None
    """The project's newest snapshot, for a further build."""
    checks: tuple[str, ...] = ()
    """From the plan."""
    start: str = ""
    """From the plan."""
    phases: tuple[str, ...] = ()
    """Names of the plan's phases, in order; the first twenty."""
    cadence: Cadence = "turn"
    """When what was captured is uploaded."""
    tool_calls_limit: int = MOST_TOOL_CALLS
    """The highest that the plan lets `max_tool_calls` be."""
    turn: int = 0
    """Of a fork: the turn that it goes on from."""
    phase: str = ""
    """Of a fork: under way at that turn; `phases` are then those that had not begun."""
    inherited: int = 0
    """Of a fork: what the conversation up to that turn had cost, microdollars; no part of what it spends."""
    budget: int = 0
    """What it may spend in all, microdollars; 0: no limit but the days' own."""
    weight: int = 1
    """The plan's share of the workers where several users wait."""


class FinishBuild(Payload):
    """How a build ended, for its row and its watchers."""

    build_id: str
    status: Literal["ready", "failed"]
    outcome: str
    """One of `workflows.errors.Outcome`."""
    message: str = ""
    """A sentence a founder understands."""
    debug_id: str = ""
    """Names this failure in logs."""
    sandbox_id: str = ""
    preview_url: str = ""
    build_version: str = ""
    workspace: str = ""
    restore_point: int | None = None


class BuildResult(Payload):
    """What a finished build hands back."""

    status: str
    """READY, or FAILED."""
    outcome: str
    sandbox_id: str = ""
    """The sandbox that serves the preview."""
    preview_url: str = ""
    build_version: str = ""
    """build_v0_N."""
    workspace_path: str = ""
    snapshot_key: str = ""
    """Manifest key of the last restore point."""
    turns: int = 0
    tool_calls: int = 0
    spent_microdollars: int = 0
    message: str = ""
    debug_id: str = ""


class StatusChange(Payload):
    """A step a watcher wants to see."""

    build_id: str
    event: str
    """Event type, e.g. `build.stage.started`."""
    status: str = ""
    """New shown status; empty: unchanged."""
    text: str = ""
    """For people."""
    wake_at: datetime | None = None
    """When a sleeping build wakes."""


class SetLimit(Payload):
    """Changes a limit of a running build."""

    max_tool_calls: int = 0


class ChooseModel(Payload):
    """Asks for another model for a running build."""

    build_id: str
    user: str
    model: str
    """As it was asked for; empty: the one that the plan gives."""


class BuildStatus(Payload):
    """The answer to the `status` query."""

    status: str
    """The state that people see: stage, or why it rests."""
    stage: str
    phase: str = ""
    build_version: str = ""
    turns: int = 0
    tool_calls: int = 0
    max_tool_calls: int = 0
    spent_microdollars: int = 0
    sandbox_microdollars: int = 0
    """The part of it that was sandbox time."""
    allowance_microdollars: int = 0
    left_microdollars: int = 0
    wake_at: datetime | None = None
    sandbox_id: str = ""
    restore_point: int | None = None
    outcome: str = ""
    message: str = ""
    model: str = ""
    budget_microdollars: int = 0
    """What it may spend in all; 0: no limit but the days' own."""
    inherited_microdollars: int = 0
    """Of a fork: what other builds had spent on the conversation that it goes on from."""
    trouble: str = ""
    """Why the files cannot be saved or restored just now; empty: they can."""


class ReceiptSoFar(Payload):
    """What the build itself knows of its money; the whole is `python -m starter receipt ID`."""

    spent_microdollars: int = 0
    """Settled and lost."""
    by_phase: dict[str, int] = Field(default={})
    """Microdollars; comes to what is spent."""
    sandbox_microdollars: int = 0
    """The part of what is spent that was sandbox time."""
    day: date | None = None
    """Local day of the user whose balance follows, which all their builds share."""
    day_allowance_microdollars: int = 0
    day_left_microdollars: int = 0
    inherited_microdollars: int = 0
    """Of a fork: what other builds had spent on the conversation that it goes on from."""
    whole: str = "python -m starter receipt ID"
    """What prints the tools, the days and the lost attempts too."""


class TimelineEntry(Payload):
    """A line of the `timeline` query."""

    at: datetime
    text: str
