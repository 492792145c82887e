"""Saves a build's files while it goes on: one upload in flight, waited for before what must follow it.

Workflow code: it decides and waits, `take_snapshot` does. An outage of the bucket is told here, also where
files are read back. It knows no sandbox but the one that it is given.
"""

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.workflow import ActivityHandle

from workflows import options
from workflows.errors import FailureType
from workflows.files import CreateSandbox, RestorePoint, SandboxRef, TakeSnapshot
from workflows.journal import details
from workflows.models import Cadence
from workflows.ports import Sandboxes, Snapshots
from workflows.state import BuildState
from workflows.texts import LOST

MOST_UNSAVED = 50
"""Changing calls after which a snapshot is due, however long a phase lasts."""


UNSAVABLE = (FailureType.DISK_FULL, FailureType.WORKSPACE_REPLACED)
"""Why a snapshot fails until the model's calls have mended it."""


def failed_as(error: ActivityError, *kinds: FailureType) -> bool:
    """Tell whether an activity failed for one of these reasons."""
    cause = error.cause
    return isinstance(cause, ApplicationError) and cause.type in kinds


async def _made(request: CreateSandbox, summary: str) -> SandboxRef:
    return await workflow.execute_activity_method(
        Sandboxes.create_sandbox, request, summary=summary, **options.CREATE_SANDBOX
    )


class Saving:
    """Keeps the files of the sandbox in the state, and tells where it cannot."""

    def __init__(self, state: BuildState) -> None:
        self._state = state
        self._in_flight: ActivityHandle[RestorePoint] | None = None
        self._asked: TakeSnapshot | None = None
        """What the upload in flight was asked for."""

    def due(self, moment: Cadence) -> None:
        """Begin to upload what was captured if the cadence says so.

        A turn has ended too where a phase has, and a phase may leave only so many calls unsaved.
        """
        state = self._state
        of_call, of_turn = state.cadence == "call", state.cadence != "phase" or moment == "phase"
        is_due = of_call if moment == "call" else of_turn or len(state.unsaved) >= MOST_UNSAVED
        if is_due and state.unsaved and self._in_flight is None:
            self.begin(moment)

    def begin(self, reason: str, *, full_scan: bool = False) -> None:
        """Begin an upload, unless there is no sandbox awake whose files it could take."""
        state = self._state
        if state.sandbox is None or state.sandbox_paused:
            return
        request = TakeSnapshot(
            build_id=state.build_id,
            project=state.project,
            sandbox=state.sandbox,
            turn=state.turns,
            head=state.head,
            # A full scan is taken of what is there once nothing runs any more, cut short or not.
            unended=0 if full_scan else state.acting,
            parent=state.restore_point,
            reason=reason,
            full_scan=full_scan,
            captured=state.captured,
            phase=state.phase,
            note="\n".join(note for note in state.notes if note.startswith(LOST)),
            recapture=state.uncaptured,
            tell_outage=True,
        )
        self._in_flight = self._start(request)

    def _start(self, request: TakeSnapshot) -> ActivityHandle[RestorePoint]:
        self._asked = request
        return workflow.start_activity_method(
            Snapshots.take_snapshot,
            request,
            summary=f"turn {request.turn}: {request.reason}",
            **options.TAKE_SNAPSHOT,
        )

    async def land(self) -> None:
        """Wait for the upload in flight, however long the bucket is away, which is shown meanwhile.

        Raises ActivityError: its sandbox is lost, only the model can mend it, or nobody can say what it is.
        """
        upload, self._in_flight = self._in_flight, None
        while upload is not None:
            try:
                point = await upload
            except ActivityError as error:
                if not failed_as(error, FailureType.UNSAVED) or self._asked is None:
                    raise
                self._show(error)
                upload = self._start(self._asked.model_copy(update={"tell_outage": False}))
            else:
                upload = None
                self._commit(point)

    def _show(self, error: ActivityError) -> None:
        state, cause, before = self._state, error.cause, self._state.trouble
        state.trouble = cause.message if isinstance(cause, ApplicationError) else str(error)
        if state.trouble != before:
            state.log(workflow.now(), state.trouble)
        workflow.set_current_details(details(state))

    def _end_trouble(self, text: str) -> None:
        if self._state.trouble:
            self._state.trouble = ""
            self._state.log(workflow.now(), text)
            workflow.set_current_details(details(self._state))

    async def restored(self, request: CreateSandbox, summary: str) -> SandboxRef:
        """Make a sandbox with its files, however long the bucket is away, which is shown meanwhile."""
        try:
            return await _made(request.model_copy(update={"tell_outage": True}), summary)
        except ActivityError as error:
            if not failed_as(error, FailureType.UNRESTORED):
                raise
            self._show(error)
        try:
            return await _made(request, summary)
        finally:
            self._end_trouble("the files could be read again")

    def tell_model(self, error: ActivityError) -> None:
        """Tell the model, once, what keeps its files from being saved."""
        before = self._state.trouble
        self._show(error)
        if self._state.trouble != before:
            self._state.note(f"[snapshot] {self._state.trouble}")

    def _commit(self, point: RestorePoint) -> None:
        state = self._state
        state.restore_point = point.restore_point
        state.snapshot_key = point.key
        state.unsaved, state.uncaptured, state.losses = (), False, 0
        self._end_trouble("the files are saved again")
        if point.omitted:
            names = ", ".join(point.omitted[:10])
            state.note(f"[snapshot] Not saved, too large or unreadable, and gone with the sandbox: {names}.")
