"""The custody of a build's files: sandboxes, snapshots, and what to tell the model of a loss.

Workflow code: it decides and waits, activities do. It knows no turn and no money.
"""

import asyncio
from datetime import timedelta
from typing import Literal

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from workflows import options
from workflows.branches import Rewind
from workflows.catalogue import MAX_COMMAND_SECONDS
from workflows.errors import BuildFailed, FailureType, Outcome
from workflows.files import SLEEP, ConnectedSandbox, CreateSandbox, SandboxRef, SandboxStep
from workflows.guard import MAX_LOSSES
from workflows.models import Cadence
from workflows.ports import Sandboxes
from workflows.saving import UNSAVABLE, Saving, failed_as
from workflows.state import BuildState
from workflows.texts import told_of_loss, told_of_pause

RENEW_BEFORE = timedelta(seconds=MAX_COMMAND_SECONDS) + timedelta(minutes=7)
"""Before the provider ends a sandbox's longest run: the longest command, its capture, and five minutes."""
RENEWED = (
    "[sandbox] Your sandbox was paused and resumed, as the provider ends a run after some hours. "
    "Your files are untouched."
)


def is_lost(error: ActivityError) -> bool:
    """Tell whether an activity failed because its sandbox is gone."""
    return failed_as(error, FailureType.SANDBOX_LOST)


class Workspace:
    """Keeps one good sandbox under the build, and its files in S3."""

    def __init__(self, state: BuildState) -> None:
        self._state = state
        self._saving = Saving(state)
        self._mending = asyncio.Lock()
        """Calls that run side by side connect or replace a sandbox once."""

    async def create(self, *, role: Literal["build", "check"] = "build") -> SandboxRef:
        """Create the next sandbox, a check's with source only; raises BuildFailed when many died so."""
        while True:
            try:
                return await self._create(role)
            except ActivityError as error:
                if not is_lost(error):
                    raise
                self.count_loss("it died while it was made")

    async def _create(self, role: Literal["build", "check"]) -> SandboxRef:
        state = self._state
        state.generation += 1
        if role == "build":
            state.captured = 0
        return await self._saving.restored(
            CreateSandbox(
                build_id=state.build_id,
                generation=state.generation,
                role=role,
                restore_point=state.restore_point,
                source_only=role == "check",
            ),
            summary=f"{role} sandbox {state.generation}"
            + (f" from restore point {state.restore_point}" if state.restore_point else ""),
        )

    async def ready(self) -> SandboxRef:
        """Give the sandbox to work in, connected and intact; restores one where it was lost."""
        state = self._state
        async with self._mending:
            if state.sandbox is None:
                state.sandbox = await self.create()
            elif state.sandbox_paused:
                await self._connect(state.sandbox)
            return state.sandbox

    async def _connect(self, sandbox: SandboxRef) -> None:
        try:
            found: ConnectedSandbox = await workflow.execute_activity_method(
                Sandboxes.connect_sandbox,
                self._step(sandbox),
                summary=f"resume {sandbox.sandbox_id}",
                **options.CONNECT_SANDBOX,
            )
        except ActivityError as error:
            if not is_lost(error):
                raise
            found = ConnectedSandbox(intact=False, reason="it did not come back")
        self._state.sandbox_paused = False
        if not found.intact:
            await self._replace(sandbox, found.reason)
            return
        self._state.sandbox = sandbox.model_copy(update={"run_ends": found.run_ends})
        if self._state.running:
            # Stopped before the last capture, so that what they wrote is in it.
            self._state.note(told_of_pause(self._state.running))
            self._state.running = ()

    async def renew(self) -> None:
        """Pause and resume a sandbox whose longest run ends soon, as between turns nothing runs in it."""
        sandbox = self._state.sandbox
        if sandbox is None or sandbox.run_ends is None or self._state.sandbox_paused:
            return
        if workflow.now() < sandbox.run_ends - RENEW_BEFORE:
            return
        await self.pause()
        resumed = await self.ready()
        if resumed.generation == sandbox.generation:
            self._state.note(RENEWED)

    async def recover(self, lost: SandboxRef, reason: str) -> None:
        """Replace a lost sandbox once, however many calls noticed it; raises BuildFailed after many."""
        async with self._mending:
            current = self._state.sandbox
            if current is not None and current.generation == lost.generation:
                await self._replace(lost, reason)

    async def _replace(self, lost: SandboxRef, reason: str) -> None:
        state = self._state
        # An upload in flight either landed, and is what is restored, or was lost with its sandbox.
        await self._land()
        self.count_loss(reason)
        state.sandbox = await self.create()
        state.sandbox_paused = False
        state.note(told_of_loss(reason, state.unsaved, state.running))
        state.log(workflow.now(), f"sandbox lost ({reason}); restored")
        state.undone = state.undone or bool(state.unsaved)
        state.unsaved, state.uncaptured, state.running, state.trouble = (), False, (), ""
        # What went back is made again: that is no loop, and many losses in a row end the build by themselves.
        state.recent_calls = ()
        await self.kill(lost)

    def count_loss(self, reason: str) -> None:
        """Count a lost sandbox; raises BuildFailed when no restore point was made between many."""
        self._state.losses += 1
        if self._state.losses > MAX_LOSSES:
            text = f"{self._state.losses} sandboxes were lost in a row; the last: {reason}"
            raise BuildFailed(Outcome.SANDBOX_ERROR, text)

    def save_due(self, moment: Cadence) -> None:
        """Begin to upload what was captured if the cadence says so; `saved` waits for it."""
        self._saving.due(moment)

    async def saved(self) -> None:
        """Wait for the upload in flight, if any; a sandbox lost under it is restored."""
        sandbox = self._state.sandbox
        if not await self._land() and sandbox is not None:
            await self.recover(sandbox, "it was gone while its files were uploaded")

    async def _land(self) -> bool:
        """Wait for the upload in flight and take its restore point; False when its sandbox was lost.

        On a full disk, or without a workspace, the model is told and goes on: only its calls can mend it.
        """
        try:
            await self._saving.land()
        except ActivityError as error:
            if failed_as(error, *UNSAVABLE):
                self._saving.tell_model(error)
            elif not is_lost(error):
                raise
            else:
                return False
        return True

    async def save(self, reason: str) -> None:
        """Upload everything now, every file hashed; a sandbox lost under it is restored first."""
        await self.saved()
        self._saving.begin(reason, full_scan=True)
        await self.saved()

    async def keep(self) -> None:
        """Upload all that can still be had as the build ends; a sandbox already lost is not replaced.

        Raises ActivityError when the last changes could not be saved.
        """
        await self._land()
        self._saving.begin("end", full_scan=True)
        try:
            await self._saving.land()
        except ActivityError as error:
            if not is_lost(error):
                raise

    async def go_back(self, rewind: Rewind) -> None:
        """Keep what can be kept, then work in a new sandbox with the files of an earlier restore point."""
        state = self._state
        await self._land()
        self._saving.begin("rewind", full_scan=True)
        await self._land()
        async with self._mending:
            left = state.sandbox
            state.restore_point, state.snapshot_key = rewind.restore_point, rewind.key
            state.unsaved, state.uncaptured, state.running = (), False, ()
            state.undone, state.trouble, state.losses = False, "", 0
            state.sandbox = await self.create()
            state.sandbox_paused = False
        await self.kill(left)

    async def pause(self) -> None:
        """Save and pause the building sandbox; what runs in it is stopped first."""
        await self.save(SLEEP)
        state = self._state
        if state.sandbox is None or state.sandbox_paused:
            return
        try:
            await workflow.execute_activity_method(
                Sandboxes.pause_sandbox,
                self._step(state.sandbox),
                summary=f"pause {state.sandbox.sandbox_id}",
                **options.PAUSE_SANDBOX,
            )
        except ActivityError as error:
            if not is_lost(error):
                raise
        # Also when it is gone: the next connect notices, and restores what was just saved.
        state.sandbox_paused = True

    async def kill(self, sandbox: SandboxRef | None) -> None:
        """Kill a sandbox that is no longer needed; no build fails because one could not be killed."""
        if sandbox is None:
            return
        try:
            await workflow.execute_activity_method(
                Sandboxes.kill_sandbox,
                self._step(sandbox),
                summary=f"kill {sandbox.sandbox_id}",
                **options.KILL_SANDBOX,
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            self._state.log(workflow.now(), f"{sandbox.sandbox_id} could not be killed")

    def _step(self, sandbox: SandboxRef) -> SandboxStep:
        return SandboxStep(build_id=self._state.build_id, sandbox=sandbox)
