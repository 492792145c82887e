"""Fakes of the ports, for the workflow's own tests: deterministic, in memory, scripted by each test."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from temporalio import activity
from temporalio.exceptions import ApplicationError
from typing_extensions import override

from workflows import ports
from workflows.branches import FindRestorePoint, Rewind, RewindBuild, Rewound
from workflows.catalogue import is_changing
from workflows.errors import FailureType
from workflows.files import (
    ConnectedSandbox,
    CreateSandbox,
    ProofReport,
    ProofStep,
    RestorePoint,
    SandboxRef,
    SandboxStep,
    TakeSnapshot,
)
from workflows.leftovers import (
    Cleared,
    EndedBuild,
    EndedBuilds,
    FindEnded,
    Pruned,
    PruneFiles,
    SweepSandboxes,
)
from workflows.models import Cadence, ChooseModel, FinishBuild, PrepareBuild, PreparedBuild, StatusChange
from workflows.turns import (
    AddMoney,
    Balance,
    CostRecord,
    ModelCall,
    ModelReply,
    Refusal,
    ToolCall,
    ToolOutcome,
    ToolRun,
    WakeBuilds,
)

DAY = date(2026, 3, 1)
FAR_FUTURE = datetime(2100, 1, 1, tzinfo=UTC)
ALLOWANCE = 4_000_000
WEIGHT = 5


def balance(
    *, settled: int = 0, worst_case: int = 1_000, wakes_at: datetime | None = None, day: date = DAY
) -> Balance:
    """A day of four dollars."""
    return Balance(
        day=day,
        allowance=ALLOWANCE,
        settled=settled,
        worst_case=worst_case,
        wakes_at=wakes_at,
        build_spent=settled,
    )


def call(tool: str, label: str = "", *, tool_use_id: str = "", digest: str = "") -> ToolCall:
    """A tool call as a reply names it."""
    label = label or tool
    return ToolCall(
        tool_use_id=tool_use_id or f"{tool}-{label}",
        tool=tool,
        label=label,
        changing=is_changing(tool),
        digest=digest or f"{tool}:{label}",
    )


def acts(*calls: ToolCall) -> ModelReply:
    """A reply that calls tools."""
    return ModelReply(stop_reason="tool_use", tool_calls=calls, cost=100)


def done(text: str = "All done.") -> ModelReply:
    """A reply that ends the turn."""
    return ModelReply(stop_reason="end_turn", preview=text, cost=100)


def refused(reason: Refusal, wakes_at: datetime | None = None) -> ModelReply:
    """No reply: the money or the switch does not allow it."""
    return ModelReply(refused=reason, balance=balance(settled=ALLOWANCE, wakes_at=wakes_at))


def lost(text: str = "gone") -> ApplicationError:
    """The failure of an activity whose sandbox is gone."""
    return ApplicationError(text, type=FailureType.SANDBOX_LOST, non_retryable=True)


def bug(text: str = "bug") -> ApplicationError:
    """A failure for good."""
    return ApplicationError(text, type="Bug", non_retryable=True)


def passing(delay: timedelta = timedelta(0)) -> ApplicationError:
    """A failure that is tried again."""
    return ApplicationError("try again", type=FailureType.RETRYABLE, next_retry_delay=delay)


class Gate:
    """Stops the first activity that comes to it until the test lets it go on."""

    def __init__(self, *, deaf: bool = False) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()
        self._deaf = deaf
        """It answers although it was cancelled."""

    async def pass_through(self) -> None:
        """Wait to be let through, heartbeating so that a cancel arrives."""
        self.reached.set()
        while not self.opened.is_set():
            activity.heartbeat()
            try:
                await asyncio.wait_for(self.opened.wait(), 0.1)
            except TimeoutError:
                continue
            except asyncio.CancelledError:
                if not self._deaf:
                    raise


Answer = ModelReply | Exception | Callable[[ModelCall], ModelReply]


@dataclass
class World:
    """What the fakes share: what they were asked, and what they are to answer."""

    replies: Iterator[Answer] = field(default_factory=lambda: iter([done()]))
    proofs: Iterator[ProofReport] = field(default_factory=lambda: iter(()))
    intact: Iterator[bool] = field(default_factory=lambda: iter(()))
    run_ends: Iterator[datetime] = field(default_factory=lambda: iter(()))
    """When the provider ends the run that each creation and each connect begins."""
    lose_calls: set[str] = field(default_factory=set)
    """Tool calls during which the sandbox is lost, once each."""
    refuse_start: ApplicationError | None = None
    cadence: Cadence = "turn"
    faults: dict[str, list[ApplicationError | None]] = field(default_factory=dict)
    """Activity → what its next attempts fail with; None: that one does not."""
    gates: dict[str, list[Gate | None]] = field(default_factory=dict)
    """Activity → where its next attempts are held; None: that one is not."""
    attempts: list[str] = field(default_factory=list)
    """Activities in the order they were begun."""
    outcomes: dict[str, ToolOutcome] = field(default_factory=dict)
    """tool_use id → what that call gives instead of success."""
    balances: Iterator[Balance] = field(default_factory=lambda: iter(()))
    asked: list[ModelCall] = field(default_factory=list)
    tools: list[ToolRun] = field(default_factory=list)
    created: list[CreateSandbox] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)
    snapshots: list[TakeSnapshot] = field(default_factory=list)
    statuses: list[StatusChange] = field(default_factory=list)
    finished: list[FinishBuild] = field(default_factory=list)
    spent_at_end: int | None = None
    """What the end of a build tells that it spent in all."""
    ended: tuple[EndedBuild, ...] = ()
    """What the janitor finds."""
    cleared: list[EndedBuild] = field(default_factory=list)
    paused: list[str] = field(default_factory=list)
    connected: list[str] = field(default_factory=list)
    added: list[AddMoney] = field(default_factory=list)
    woken: list[WakeBuilds] = field(default_factory=list)
    kept: frozenset[int] = frozenset(range(100))
    """Turns of which there is a restore point."""
    rewound: list[RewindBuild] = field(default_factory=list)
    head: int = 1
    told: asyncio.Event = field(default_factory=asyncio.Event)

    async def shows(self, status: str) -> None:
        """Wait until the build was shown in a status; unlike a query it survives a change of runs."""
        while not any(one.status == status for one in self.statuses):
            await self.told.wait()

    async def enter(self) -> None:
        """Begin an attempt of an activity: held and failed as the test says."""
        name = activity.info().activity_type
        self.attempts.append(name)
        if (gates := self.gates.get(name)) and (gate := gates.pop(0)):
            await gate.pass_through()
        if (faults := self.faults.get(name)) and (fault := faults.pop(0)):
            raise fault


class Builds(ports.Builds):
    def __init__(self, world: World) -> None:
        self.world = world

    @activity.defn
    @override
    async def prepare_build(self, request: PrepareBuild) -> PreparedBuild:
        await self.world.enter()
        if self.world.refuse_start:
            raise self.world.refuse_start
        return PreparedBuild(
            build_id=request.build_id,
            project=request.request.project or "demo",
            user=request.request.user,
            number=1,
            model="claude-sonnet-5-5",
            head=1,
            weight=WEIGHT,
            phases=tuple(phase.name for phase in request.request.build_plan.phases),
            cadence=self.world.cadence,
        )

    @activity.defn
    @override
    async def record_status(self, request: StatusChange) -> None:
        await self.world.enter()
        self.world.statuses.append(request)
        self.world.told.set()
        self.world.told.clear()

    @activity.defn
    @override
    async def finish_build(self, request: FinishBuild) -> int | None:
        await self.world.enter()
        self.world.finished.append(request)
        return self.world.spent_at_end

    @activity.defn
    @override
    async def choose_model(self, request: ChooseModel) -> str:
        await self.world.enter()
        return request.model or "claude-sonnet-5-5"


class Rewinds(ports.Rewinds):
    def __init__(self, world: World) -> None:
        self.world = world

    @activity.defn
    @override
    async def find_restore_point(self, request: FindRestorePoint) -> Rewind:
        await self.world.enter()
        if request.turn not in self.world.kept:
            raise ApplicationError(
                f"turn: no restore point of turn {request.turn} is kept. Kept are: turn 1.",
                type=FailureType.INVALID_BUILD_REQUEST,
                non_retryable=True,
            )
        return Rewind(restore_point=1_000 + request.turn, key=f"kept/{request.turn}", turn=request.turn)

    @activity.defn
    @override
    async def rewind_build(self, request: RewindBuild) -> Rewound:
        await self.world.enter()
        self.world.rewound.append(request)
        return Rewound(head=500 + request.rewind.turn, phase="Foundation")


class Model(ports.Model):
    def __init__(self, world: World) -> None:
        self.world = world

    @activity.defn
    @override
    async def call_model(self, request: ModelCall) -> ModelReply:
        await self.world.enter()
        world = self.world
        world.asked.append(request)
        answer = next(world.replies)
        if isinstance(answer, Exception):
            raise answer
        reply = answer if isinstance(answer, ModelReply) else answer(request)
        if reply.refused is not None:
            return reply
        world.head += 2
        return reply.model_copy(update={"head": world.head, "balance": reply.balance or balance()})


class Tools(ports.Tools):
    def __init__(self, world: World) -> None:
        self.world = world

    @activity.defn
    @override
    async def run_tool(self, request: ToolRun) -> ToolOutcome:
        await self.world.enter()
        world = self.world
        if request.call.tool_use_id in world.lose_calls:
            world.lose_calls.discard(request.call.tool_use_id)
            raise lost()
        world.tools.append(request)
        tool_use_id = request.call.tool_use_id
        done = ToolOutcome(tool_use_id=tool_use_id, preview="ok", is_error=bool(request.refuse), captured=1)
        return world.outcomes.get(tool_use_id, done)


class Ledger(ports.Ledger):
    def __init__(self, world: World) -> None:
        self.world = world

    @activity.defn
    @override
    async def record_cost(self, request: CostRecord) -> Balance:
        await self.world.enter()
        return next(self.world.balances, balance())

    @activity.defn
    @override
    async def add_money(self, request: AddMoney) -> Balance:
        await self.world.enter()
        self.world.added.append(request)
        return balance()

    @activity.defn
    @override
    async def wake_builds(self, request: WakeBuilds) -> int:
        await self.world.enter()
        self.world.woken.append(request)
        return 1


class Sandboxes(ports.Sandboxes):
    def __init__(self, world: World) -> None:
        self.world = world

    @activity.defn
    @override
    async def create_sandbox(self, request: CreateSandbox) -> SandboxRef:
        await self.world.enter()
        self.world.created.append(request)
        return SandboxRef(
            sandbox_id=f"sbx-{request.generation}",
            generation=request.generation,
            home="/home/user",
            workspace="/home/user/workspace",
            run_ends=next(self.world.run_ends, None),
        )

    @activity.defn
    @override
    async def pause_sandbox(self, request: SandboxStep) -> None:
        await self.world.enter()
        self.world.paused.append(request.sandbox.sandbox_id)

    @activity.defn
    @override
    async def connect_sandbox(self, request: SandboxStep) -> ConnectedSandbox:
        await self.world.enter()
        self.world.connected.append(request.sandbox.sandbox_id)
        intact = next(self.world.intact, True)
        return ConnectedSandbox(
            intact=intact,
            reason="" if intact else "its marker is missing",
            run_ends=next(self.world.run_ends, None) if intact else None,
        )

    @activity.defn
    @override
    async def kill_sandbox(self, request: SandboxStep) -> None:
        await self.world.enter()
        self.world.killed.append(request.sandbox.sandbox_id)


class Snapshots(ports.Snapshots):
    def __init__(self, world: World) -> None:
        self.world = world

    @activity.defn
    @override
    async def take_snapshot(self, request: TakeSnapshot) -> RestorePoint:
        await self.world.enter()
        self.world.snapshots.append(request)
        number = len(self.world.snapshots)
        return RestorePoint(restore_point=number, key=f"manifests/{number}/manifest")


class Checks(ports.Checks):
    def __init__(self, world: World) -> None:
        self.world = world

    @activity.defn
    @override
    async def install_dependencies(self, request: ProofStep) -> ProofReport:
        await self.world.enter()
        return ProofReport(passed=True)

    @activity.defn
    @override
    async def run_checks(self, request: ProofStep) -> ProofReport:
        await self.world.enter()
        return next(self.world.proofs, ProofReport(passed=True))

    @activity.defn
    @override
    async def start_preview(self, request: ProofStep) -> ProofReport:
        await self.world.enter()
        return ProofReport(passed=True, preview_url="http://127.0.0.1:1/")


class Janitor(ports.Janitor):
    def __init__(self, world: World) -> None:
        self.world = world

    @activity.defn
    @override
    async def find_ended(self, request: FindEnded) -> EndedBuilds:
        await self.world.enter()
        return EndedBuilds(builds=self.world.ended[: request.most], unknown=1)

    @activity.defn
    @override
    async def clear_build(self, request: EndedBuild) -> Cleared:
        await self.world.enter()
        self.world.cleared.append(request)
        return Cleared(lost=1, closed=True, killed=2)

    @activity.defn
    @override
    async def sweep_sandboxes(self, request: SweepSandboxes) -> int:
        await self.world.enter()
        return 3


class Retention(ports.Retention):
    def __init__(self, world: World) -> None:
        self.world = world

    @activity.defn
    @override
    async def prune_files(self, request: PruneFiles) -> Pruned:
        await self.world.enter()
        return Pruned(points=4, objects=5)


PAIRS: tuple[tuple[type, type], ...] = (
    (ports.Builds, Builds),
    (ports.Rewinds, Rewinds),
    (ports.Model, Model),
    (ports.Tools, Tools),
    (ports.Ledger, Ledger),
    (ports.Sandboxes, Sandboxes),
    (ports.Snapshots, Snapshots),
    (ports.Checks, Checks),
    (ports.Janitor, Janitor),
    (ports.Retention, Retention),
)
"""Each port with its fake."""
