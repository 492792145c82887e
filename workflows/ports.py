"""What the workflow asks of the outside: abstract activity classes, signatures only.

The workflow calls these methods; adapters in `activities/` subclass them and `worker.bind` registers
them. No method passes `name=` to `activity.defn`: the name in history is the method's name.
"""

from abc import ABC, abstractmethod

from temporalio import activity

from workflows.branches import FindRestorePoint, Rewind, RewindBuild, Rewound
from workflows.files import (
    ConnectedSandbox,
    CreateSandbox,
    ProofReport,
    ProofStep,
    RestorePoint,
    SandboxRef,
    SandboxStep,
    ServePreview,
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
from workflows.models import ChooseModel, FinishBuild, PrepareBuild, PreparedBuild, StatusChange
from workflows.turns import (
    AddMoney,
    Balance,
    CostRecord,
    ModelCall,
    ModelReply,
    ToolOutcome,
    ToolRun,
    WakeBuilds,
)


class Builds(ABC):
    """The rows of a build: who, what, which number, how it ended."""

    @activity.defn
    @abstractmethod
    async def prepare_build(self, request: PrepareBuild) -> PreparedBuild:
        """Check that the build may start; write its row, system prompt and first message."""
        ...

    @activity.defn
    @abstractmethod
    async def record_status(self, request: StatusChange) -> None:
        """Note a step in the build's row and tell the watchers."""
        ...

    @activity.defn
    @abstractmethod
    async def finish_build(self, request: FinishBuild) -> int | None:
        """Close the build's row and tell the watchers; gives what it spent in all, microdollars.

        None comes from workers that did not tell it yet.
        """
        ...

    @activity.defn
    @abstractmethod
    async def choose_model(self, request: ChooseModel) -> str:
        """Give the model that a running build may go on with, and note it in its row."""
        ...


class Rewinds(ABC):
    """Going back to a restore point of the build itself."""

    @activity.defn
    @abstractmethod
    async def find_restore_point(self, request: FindRestorePoint) -> Rewind:
        """Find a kept restore point of the build and see that it stays."""
        ...

    @activity.defn
    @abstractmethod
    async def rewind_build(self, request: RewindBuild) -> Rewound:
        """Have the conversation, the phases and the guide go on from a restore point."""
        ...


class Model(ABC):
    """The model behind the agent."""

    @activity.defn
    @abstractmethod
    async def call_model(self, request: ModelCall) -> ModelReply:
        """Append the next user message, reserve, stream a reply, settle, append it; buy it once."""
        ...


class Tools(ABC):
    """The nine tools over the sandbox."""

    @activity.defn
    @abstractmethod
    async def run_tool(self, request: ToolRun) -> ToolOutcome:
        """Run one tool call at most once, ever; write its one result."""
        ...


class Ledger(ABC):
    """The money of a user's day."""

    @activity.defn
    @abstractmethod
    async def record_cost(self, request: CostRecord) -> Balance:
        """Read the day's numbers after a reply and tell the watchers."""
        ...

    @activity.defn
    @abstractmethod
    async def add_money(self, request: AddMoney) -> Balance:
        """Add money to the user's day, once a key."""
        ...

    @activity.defn
    @abstractmethod
    async def wake_builds(self, request: WakeBuilds) -> int:
        """Wake the user's running builds; gives how many there were."""
        ...


class Sandboxes(ABC):
    """Where the work happens."""

    @activity.defn
    @abstractmethod
    async def create_sandbox(self, request: CreateSandbox) -> SandboxRef:
        """Create a sandbox once for this build and generation; restore a snapshot into it."""
        ...

    @activity.defn
    @abstractmethod
    async def pause_sandbox(self, request: SandboxStep) -> None:
        """Mark and pause a sandbox; a sandbox already gone is no failure."""
        ...

    @activity.defn
    @abstractmethod
    async def connect_sandbox(self, request: SandboxStep) -> ConnectedSandbox:
        """Resume a sandbox and tell whether it is the one that was paused, unchanged."""
        ...

    @activity.defn
    @abstractmethod
    async def kill_sandbox(self, request: SandboxStep) -> None:
        """Kill a sandbox; one already gone is no failure."""
        ...


class Snapshots(ABC):
    """The files of a build, in S3."""

    @activity.defn
    @abstractmethod
    async def take_snapshot(self, request: TakeSnapshot) -> RestorePoint:
        """Upload what was captured, publish the manifest, commit the restore point."""
        ...


class Checks(ABC):
    """Proof that the software runs, in a fresh sandbox."""

    @activity.defn
    @abstractmethod
    async def install_dependencies(self, request: ProofStep) -> ProofReport:
        """Run setup.sh and the installers that the files ask for."""
        ...

    @activity.defn
    @abstractmethod
    async def run_checks(self, request: ProofStep) -> ProofReport:
        """Run the plan's checks, or those found in the files."""
        ...

    @activity.defn
    @abstractmethod
    async def start_preview(self, request: ProofStep) -> ProofReport:
        """Start the app and wait until it answers below 500."""
        ...


class Previews(ABC):
    """The apps of finished builds."""

    @activity.defn
    @abstractmethod
    async def serve_preview(self, request: ServePreview) -> ProofReport:
        """Resume the sandbox of a build's newest READY version and start its app again."""
        ...


class Janitor(ABC):
    """What builds left open whose run was ended from outside."""

    @activity.defn
    @abstractmethod
    async def find_ended(self, request: FindEnded) -> EndedBuilds:
        """Find builds that hold a row, money or sandboxes although their chain of runs has closed."""
        ...

    @activity.defn
    @abstractmethod
    async def clear_build(self, request: EndedBuild) -> Cleared:
        """Count its open reservations as lost, close its row, kill its sandboxes."""
        ...

    @activity.defn
    @abstractmethod
    async def sweep_sandboxes(self, request: SweepSandboxes) -> int:
        """Kill the sandboxes of this installation that no build holds; gives how many."""
        ...


class Retention(ABC):
    """How long files are kept."""

    @activity.defn
    @abstractmethod
    async def prune_files(self, request: PruneFiles) -> Pruned:
        """Delete restore points that are not kept, and what nothing names in the bucket any more."""
        ...
