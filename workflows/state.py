"""The one value that a build carries through its life and over continue-as-new.

Every change of status goes through `move`; this file does not know what an activity is.
"""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from workflows.branches import Rewind, Rewound
from workflows.files import SandboxRef
from workflows.models import MOST_TOOL_CALLS, BuildRequest, Cadence, PreparedBuild, TimelineEntry
from workflows.turns import Balance

FOUNDER = "[founder]"
"""Begins a note that a person wrote."""
LONGEST_KEY = 40
"""Characters by which phases are told apart where money is put down to them."""
LONGEST_ENTRY = 300
"""Characters of a line of the timeline."""
STATE_KIND = "nightshift.state"
"""Tells a carried state from a request of a person."""
NO_PHASE = "before the first phase"
"""Where money goes while no phase has begun."""
OTHER_PHASES = "later phases"
"""Where it goes once as many phases are told apart as the state has room for."""
MOST_PHASES = 20
"""Phases whose money is told apart; a carried state must stay small."""
TIMELINE_LENGTH = 40
"""Entries that the timeline keeps; a carried state must stay small."""


class Status(StrEnum):
    """The stages of a build, in order; READY and FAILED end it."""

    STARTING = "STARTING"
    SCAFFOLD = "SCAFFOLD"
    CODE = "CODE"
    DEPS = "DEPS"
    CHECKS = "CHECKS"
    READY = "READY"
    FAILED = "FAILED"


TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.STARTING: frozenset({Status.SCAFFOLD, Status.FAILED}),
    Status.SCAFFOLD: frozenset({Status.CODE, Status.FAILED}),
    Status.CODE: frozenset({Status.DEPS, Status.FAILED}),
    Status.DEPS: frozenset({Status.CHECKS, Status.CODE, Status.FAILED}),
    Status.CHECKS: frozenset({Status.READY, Status.CODE, Status.FAILED}),
    Status.READY: frozenset(),
    Status.FAILED: frozenset(),
}
"""Status → what may follow it."""


class Stage(StrEnum):
    """How near the day's allowance is to its end."""

    NORMAL = "normal"
    TOLD = "told"
    WINDING_DOWN = "winding down"


class Rest(StrEnum):
    """Why a build does not work just now; the first that holds is shown."""

    PAUSED = "PAUSED"
    SWITCHED_OFF = "SWITCHED_OFF"
    ASKING = "WAITING_FOR_YOU"
    SLEEPING = "SLEEPING"
    BUSY = "WAITING_FOR_MONEY"


class IllegalTransition(Exception):
    """A bug of ours: a status was left for one that may not follow it."""


class BuildState(BaseModel):
    """Everything durable that the workflow knows; a few KB whatever the length of the build."""

    model_config = ConfigDict(validate_assignment=True, extra="ignore")

    kind: Literal["nightshift.state"] = STATE_KIND
    request: BuildRequest = BuildRequest()
    """As it was validated; dropped once prepared, as the transcript then holds its long texts."""
    status: Status = Status.STARTING
    rest: Rest | None = None
    """Set while the build does not work."""
    outcome: str = ""
    message: str = ""
    refused: str = ""
    """Why the last update was refused."""

    build_id: str = ""
    project: str = ""
    user: str = ""
    weight: int = 1
    """The user's share of the workers where several users wait."""
    number: int = 0
    model: str = ""
    checks: tuple[str, ...] = ()
    start: str = ""

    head: int = 0
    """Newest transcript row."""
    notes: tuple[str, ...] = ()
    """Texts for the model, sent with the next message."""
    phase: str = ""
    plan_item: str = ""
    """Of that phase, as the model named it."""
    turns: int = 0
    tool_calls: int = 0
    acting: int = 0
    """Calls under way, which count once they have ended."""
    max_tool_calls: int = 150
    most_tool_calls: int = MOST_TOOL_CALLS
    """The highest that the plan lets the limit be."""
    recent_calls: tuple[str, ...] = ()
    """Traces of the last calls, for the repetition guard."""
    steered: bool = False
    """The repetition guard has spoken since something last went forward."""
    full_context: bool = False
    """The last reply filled the context; the next call begins with a shorter one."""
    nudges: int = 0
    """Replies in a row that neither acted nor ended."""

    open_phases: tuple[str, ...] = ()
    """Phases of the plan that have not begun, in order."""
    reminders: int = 0
    """How often, since a phase last began, a model that said it was done was told of open ones."""
    failing: tuple[str, ...] = ()
    """Digests of the commands that failed when they last ran, newest last."""
    progress_spent: int = 0
    """What the build had spent when something last went forward, microdollars."""
    stall_told: bool = False
    """The model was told that money goes and nothing moves."""

    stage: Stage = Stage.NORMAL
    last_calls: int = 0
    """Replies since it was asked to leave everything in order."""
    balance: Balance | None = None
    """As last read."""
    spent_by_phase: dict[str, int] = Field(default={})
    """Microdollars; comes to what the build spent when the balance was last read."""
    wakes: int = 0
    """Counts wake signals; a sleeper waits for a newer one."""
    wake_at: datetime | None = None
    paused: bool = False
    stop_reason: str | None = None
    """Set once someone asked to stop."""
    interrupts: int = 0
    """Counts stops, pauses and words of the founder: each cuts short what runs."""
    heard: int = 0
    """Interrupts that the running turn knows of."""

    sandbox: SandboxRef | None = None
    sandbox_paused: bool = False
    check_sandbox: SandboxRef | None = None
    generation: int = 0
    """Counts every sandbox of the build."""
    restore_point: int | None = None
    snapshot_key: str = ""
    captured: int = 0
    """Number of the newest capture in the sandbox that a call told of."""
    unsaved: tuple[str, ...] = ()
    """Labels of the changing calls since the restore point."""
    uncaptured: bool = False
    """What the last of them changed could not be captured in the sandbox."""
    undone: bool = False
    """A loss undid calls, of which the model is yet to be told."""
    running: tuple[str, ...] = ()
    """Commands that ran in the background when a call last told."""
    cadence: Cadence = "turn"
    trouble: str = ""
    """Why the files cannot be saved or restored; empty once they are."""
    losses: int = 0
    """Sandboxes lost since the last restore point was made."""
    proofs: int = 0

    rewind: Rewind | None = None
    """Where the founder asked to go back to, until that is done."""
    rewound_by: str = ""
    """Id of the last update that asked; one that comes again after a change of runs asks nothing."""
    inherited: int = 0
    """Of a fork: what others had spent on the conversation that it goes on from, microdollars."""
    budget: int = 0
    """What it may spend in all, microdollars; 0: no limit but the days' own."""

    run_turns: int = 0
    """Turns since the last continue-as-new."""
    turns_per_run: int = 0
    """Turns after which the run continues as new; 0: when the server suggests it."""
    timeline: tuple[TimelineEntry, ...] = ()

    @property
    def shown(self) -> str:
        """What people see: why it rests, else its stage."""
        return self.rest or self.status

    @property
    def version(self) -> str:
        """The build's version, `build_v0_N`; empty before it has a number."""
        return f"build_v0_{self.number}" if self.number else ""

    @property
    def spent(self) -> int:
        """Settled and lost by this build, microdollars."""
        return self.balance.build_spent if self.balance else 0

    def move(self, status: Status) -> None:
        """Go to another status; raises IllegalTransition and changes nothing when it may not follow."""
        if status not in TRANSITIONS[self.status]:
            raise IllegalTransition(f"{self.status} may not be followed by {status}")
        self.status = status

    def begin(self, prepared: PreparedBuild) -> None:
        """Take over what was prepared."""
        self.build_id, self.project, self.user = prepared.build_id, prepared.project, prepared.user
        self.number, self.model, self.head = prepared.number, prepared.model, prepared.head
        self.weight = prepared.weight
        self.restore_point = prepared.restore_point
        self.checks, self.start = prepared.checks, prepared.start
        self.most_tool_calls = prepared.tool_calls_limit
        self.max_tool_calls = min(self.request.max_tool_calls, self.most_tool_calls)
        self.turns_per_run = self.request.turns_per_run
        self.open_phases = prepared.phases
        self.turns, self.phase = prepared.turn, prepared.phase
        self.inherited, self.budget = prepared.inherited, prepared.budget
        self.cadence = prepared.cadence

    def take_reply(self, head: int, sent: tuple[str, ...]) -> None:
        """Go on from a reply; notes that came in while it was made stay for the next message."""
        self.head = head
        self.notes = self.notes[len(sent) :]
        self.turns += 1
        self.run_turns += 1
        self.full_context = self.undone = False

    def see(self, balance: Balance) -> None:
        """Take the day's numbers as last read; each day is told of its end anew."""
        if self.balance is not None and self.balance.day != balance.day:
            self.stage, self.last_calls = Stage.NORMAL, 0
        self.balance = balance
        self._book()

    def _book(self) -> None:
        """Put down to the phase what was spent since the last look."""
        known = self.spent_by_phase
        if spent := self.spent - sum(known.values()):
            phase = self.phase[:LONGEST_KEY] or NO_PHASE
            if phase not in known and len(known) >= MOST_PHASES - 1:
                phase = OTHER_PHASES
            self.spent_by_phase = known | {phase: known.get(phase, 0) + spent}

    def limit_calls(self, most: int) -> None:
        """Change the limit of tool calls; before the build has begun, what it will begin with."""
        self.max_tool_calls = most
        if self.status is Status.STARTING:
            self.request = self.request.model_copy(update={"max_tool_calls": most})

    @property
    def is_interrupted(self) -> bool:
        """Whether someone spoke since the running turn began."""
        return self.interrupts > self.heard

    def go_forward(self) -> None:
        """Note that the work moved on: the guards count anew."""
        self.progress_spent, self.stall_told, self.steered = self.spent, False, False

    def go_back(self, rewind: Rewind, found: Rewound) -> None:
        """Go on from a restore point: the guards count anew; money and tool calls count on.

        What a person said and the model has not read is still to be read; other notes were of what is undone.
        """
        self.head, self.turns = found.head, rewind.turn
        self.notes = tuple(note for note in self.notes if note.startswith(FOUNDER))
        self.phase, self.plan_item, self.open_phases = found.phase, "", found.open_phases
        self.recent_calls, self.failing, self.full_context = (), (), False
        self.nudges = self.reminders = self.proofs = 0
        self.stage, self.last_calls = Stage.NORMAL, 0
        self.go_forward()
        self.rewind = None

    @property
    def unheard(self) -> int:
        """Characters that a person wrote and the model has not read."""
        return sum(len(note) for note in self.notes if note.startswith(FOUNDER))

    def note(self, text: str) -> None:
        """Append a text for the model's next message."""
        self.notes = (*self.notes, text)

    def log(self, at: datetime, text: str) -> None:
        """Append to the timeline, which forgets its oldest entries."""
        self.timeline = (*self.timeline, TimelineEntry(at=at, text=text[:LONGEST_ENTRY]))[-TIMELINE_LENGTH:]
