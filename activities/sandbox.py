"""Where the work happens: makes, pauses, resumes and kills the sandboxes of a build.

A sandbox is a cache. It may vanish, come back empty, old, or under another id; each is noticed here and said
as a loss, never repaired. Knows the rows, the provider's edge, the runner and the restorer.
"""

import hashlib
import logging
import uuid
from datetime import UTC, datetime, timedelta
from typing import Final

from temporalio import activity
from temporalio.exceptions import ApplicationError
from typing_extensions import override

from activities.failures import classified
from activities.heartbeat import heartbeating
from activities.preflight import invalid_template, preflight
from activities.restore import Restorer
from activities.sandbox_client import Listed
from activities.sandbox_rows import SandboxRow, SandboxRows
from activities.sandbox_time import SandboxTime
from activities.settings import Settings
from activities.unsaved import telling
from activities.workspace import RunnerFault, Workspace
from workflows import ports
from workflows.errors import FailureType
from workflows.files import ConnectedSandbox, CreateSandbox, SandboxRef, SandboxStep

log = logging.getLogger(__name__)

MIN_AGE: Final = timedelta(minutes=30)
"""How old a sandbox must be for the sweep to kill it."""
MIN_FREE_BYTES: Final = 512 * 1024 * 1024
"""The least free disk that a new sandbox must have."""
MARK_TIME: Final = timedelta(minutes=2)
"""The longest that a look at all files of a workspace may take, none of them read."""


class Sandboxes(ports.Sandboxes):
    """The sandboxes of all builds of this database."""

    def __init__(
        self,
        workspace: Workspace,
        rows: SandboxRows,
        restorer: Restorer,
        *,
        time: SandboxTime,
        settings: Settings,
    ) -> None:
        self._workspace = workspace
        self._client = workspace.client
        self._rows = rows
        self._restorer = restorer
        self._time = time
        self._longest_run = timedelta(seconds=settings.sandbox_longest_run_seconds)

    @override
    @activity.defn
    async def create_sandbox(self, request: CreateSandbox) -> SandboxRef:
        """Create a sandbox once for this build and generation; restore a snapshot into it.

        Raises InvalidTemplate, SandboxLost when it died while it was made, and Unrestored where it is to tell
        of an outage.
        """
        async with heartbeating(), classified():
            await self._time.renew(request.build_id)
            row = await self._rows.open(request.build_id, role=request.role, generation=request.generation)
            if row.state == "live" and await self._client.is_running(row.sandbox_id):
                return row.reference
            await self._doom_older(row)
            row = await self._provide(row)
            return await self._prepare(row, request)

    async def _provide(self, row: SandboxRow) -> SandboxRow:
        """Give the row an existing sandbox: its own, one made by an attempt that died, or a new one."""
        if row.sandbox_id and await self._client.is_running(row.sandbox_id):
            return row
        metadata = await self._metadata(row)
        key = f"nightshift-{hashlib.sha256(repr(sorted(metadata.items())).encode()).hexdigest()[:40]}"
        began = datetime.now(UTC)
        found = await self._client.find(metadata)
        await self._time.begin(row, anew=found is None)
        if found is not None:
            sandbox_id, began = found.sandbox_id, found.started_at
        else:
            sandbox_id = await self._client.create(key, metadata=metadata)
        run_ends = self._end_of_run(began).isoformat()
        return await self._rows.note(row, state="creating", sandbox_id=sandbox_id, run_ends=run_ends)

    def _end_of_run(self, began: datetime) -> datetime:
        return began + self._longest_run

    async def _metadata(self, row: SandboxRow) -> dict[str, str]:
        return {
            "installation": await self._rows.installation(),
            "build": row.build_id,
            "generation": str(row.generation),
            "role": row.role,
            "attempt": str(row.attempt),
        }

    async def _prepare(self, row: SandboxRow, request: CreateSandbox) -> SandboxRef:
        """Put the runner in, look around, restore; only then is the sandbox live."""
        home = await preflight(self._client, row.sandbox_id)
        sandbox = row.reference.model_copy(update={"home": home, "workspace": f"{home}/workspace"})
        found = await self._workspace.ship(sandbox)
        if int(found["free_bytes"]) < MIN_FREE_BYTES:
            raise invalid_template(f"it has only {found['free_bytes']} bytes of free disk", "a larger disk")
        known = {name: found[name] for name in ("home", "workspace", "identity")}
        sandbox = sandbox.model_copy(update=known)
        if request.restore_point is not None:
            async with telling(request):
                await self._restorer.restore(sandbox, request.restore_point, source_only=request.source_only)
        await self._rows.note(row, state="live", **known)
        return sandbox

    @override
    @activity.defn
    async def pause_sandbox(self, request: SandboxStep) -> None:
        """Mark and pause a sandbox; one that cannot be paused is killed, as it would run on and be paid for.

        The row says paused before the provider is asked, so that a retry after a crash pauses again and
        writes no second marker into a sandbox that sleeps. Nothing is lost by a kill: all is saved before.
        """
        async with heartbeating(), classified():
            row = await self._rows.find(request.build_id, request.sandbox.sandbox_id)
            if row is None or row.state not in {"live", "paused", "doomed"}:
                return
            if row.state == "doomed" or not await self._paused(row, request.sandbox):
                await self._kill(request)

    async def _paused(self, row: SandboxRow, sandbox: SandboxRef) -> bool:
        """Pause a sandbox and book its time; False when it is gone, or answers as if it were."""
        was_live = row.state == "live"
        try:
            if was_live:
                row = await self._mark(row, sandbox)
            await self._client.pause(row.sandbox_id)
        except ApplicationError as error:
            if error.type != FailureType.SANDBOX_LOST:
                raise
            log.warning("Sandbox %s could not be paused and is killed: %s", row.sandbox_id, error.message)
            return False
        await self._time.end(row, was_running=was_live)
        return True

    async def _mark(self, row: SandboxRow, sandbox: SandboxRef) -> SandboxRow:
        nonce = uuid.uuid4().hex
        await self._workspace.ask(sandbox, "stop_processes", {})
        await self._workspace.ask(sandbox, "mark", {"nonce": nonce}, within=MARK_TIME)
        return await self._rows.note(row, state="paused", nonce=nonce)

    @override
    @activity.defn
    async def connect_sandbox(self, request: SandboxStep) -> ConnectedSandbox:
        """Resume a sandbox and tell whether it is the one that was paused, unchanged."""
        async with heartbeating(), classified():
            row = await self._rows.find(request.build_id, request.sandbox.sandbox_id)
            if row is None or row.generation != request.sandbox.generation:
                return ConnectedSandbox(intact=False, reason="The build has no such sandbox any more.")
            if row.state not in {"live", "paused"}:
                return ConnectedSandbox(intact=False, reason=f"It is {row.state}.")
            run_ends = self._end_of_run(datetime.now(UTC)) if row.state == "paused" else row.run_ends
            try:
                reason = await self._why_lost(row, request.sandbox, run_ends=run_ends)
            except ApplicationError as error:
                if error.type != FailureType.SANDBOX_LOST:
                    raise
                reason = error.message
        return ConnectedSandbox(intact=not reason, reason=reason, run_ends=run_ends)

    async def _why_lost(self, row: SandboxRow, sandbox: SandboxRef, *, run_ends: datetime | None) -> str:
        """Connect and compare; empty when it is the sandbox that was left, as it was left."""
        running = await self._client.is_running(row.sandbox_id)
        if row.state == "live" and not running:
            return "It was paused or stopped without our asking, so its files may be old."
        if (answered := await self.resume(row, running=running)) != row.sandbox_id:
            return f"The provider answered with another sandbox, {answered}."
        if row.state == "live":
            return ""
        try:
            asked = {"nonce": row.details.get("nonce", "")}
            verdict = await self._workspace.ask(sandbox, "verify", asked, within=MARK_TIME)
        except RunnerFault as fault:
            return f"Its marker cannot be read: {fault.message}"
        if not verdict["intact"]:
            return str(verdict.get("reason") or "Its marker is missing or old.")
        await self._rows.note(row, state="live", run_ends=run_ends.isoformat() if run_ends else None)
        return ""

    async def resume(self, row: SandboxRow, *, running: bool) -> str:
        """Resume or lengthen a sandbox, paid from now on, and give the id that the provider answered with.

        Another than the row's is noted and killed. What did not run after all is not paid.
        Raises SandboxLost.
        """
        if activity.info().attempt == 1:
            await self._time.renew(row.build_id)
        await self._time.begin(row, anew=not running)
        try:
            answered = await self._client.resume(row.sandbox_id)
        except ApplicationError as error:
            if error.type == FailureType.SANDBOX_LOST:
                await self.end_unless_running(row, ran=running)
            raise
        if answered != row.sandbox_id:
            strays = [*row.details.get("strays", []), answered]
            await self._try_end(await self._rows.note(row, state=row.state, strays=strays))
            await self.end_unless_running(row, ran=running)
        return answered

    async def end_unless_running(self, row: SandboxRow, *, ran: bool) -> None:
        """End what is paid for a sandbox that the provider does not call running: up to now if it `ran`."""
        if not await self._client.is_running(row.sandbox_id):
            await (self._time.end(row) if ran else self._time.cancel(row))

    @override
    @activity.defn
    async def kill_sandbox(self, request: SandboxStep) -> None:
        """Kill a sandbox; one already gone is no failure."""
        async with heartbeating(), classified():
            await self._kill(request)

    async def _kill(self, request: SandboxStep) -> None:
        row = await self._rows.find(request.build_id, request.sandbox.sandbox_id)
        if row is not None and row.state != "gone":
            await self._end(await self._rows.note(row, state="doomed"))

    async def _doom_older(self, row: SandboxRow) -> None:
        """Mark what an earlier generation left; the sweep kills what cannot be killed now."""
        for older in await self._rows.older(row):
            await self._try_end(await self._rows.note(older, state="doomed"))

    async def kill_of(self, build_id: str) -> int:
        """Kill every sandbox of a build that has ended and give how many; for the janitor."""
        killed = 0
        for row in await self._rows.of_build(build_id):
            if row.state == "gone":
                continue
            killed += await self._try_end(await self._rows.note(row, state="doomed"))
        return killed

    async def kill_doomed(self) -> int:
        """Kill every id on the doomed list and give how many rows are clear now; for the janitor."""
        return sum([await self._try_end(row) for row in await self._rows.doomed()])

    async def sweep(self, *, min_age: timedelta = MIN_AGE) -> list[str]:
        """Kill the sandboxes that a row asked for and does not hold, and give their ids; for the janitor.

        A young one is spared: its row may not have its id yet. One that no row asked for is, too: the
        database may be an older backup.
        """
        killed: list[str] = []
        oldest = datetime.now(UTC) - min_age
        for each in await self._client.all({"installation": await self._rows.installation()}):
            if each.started_at >= oldest:
                continue
            row = await self._rows.that_asked(each.metadata)
            if row is None:
                log.warning(
                    "Sandbox %s is left alone: no row asked for it: %s", each.sandbox_id, each.metadata
                )
            elif not row.holds(each.sandbox_id):
                await self._client.kill(each.sandbox_id)
                killed.append(each.sandbox_id)
                await self._end_nameless(row, each)
        return killed

    async def _end_nameless(self, row: SandboxRow, killed: Listed) -> None:
        """Book a sandbox that was killed before the row that still waits for it learnt its id."""
        if row.sandbox_id or killed.metadata.get("attempt") != str(row.attempt):
            return
        await self._time.end(await self._rows.note(row, state="gone", sandbox_id=killed.sandbox_id))

    async def _try_end(self, row: SandboxRow) -> bool:
        try:
            return await self._end(row)
        except ApplicationError as error:
            log.warning("Sandbox %s is killed later: %s", row.sandbox_id, error.message)
            return False

    async def _end(self, row: SandboxRow) -> bool:
        """Kill what a row dooms and look again: a kill that races a resume is lost."""
        doomed = [row.sandbox_id] if row.state == "doomed" and row.sandbox_id else []
        left: list[str] = [*doomed, *row.details.get("strays", [])]
        for sandbox_id in left:
            await self._client.kill(sandbox_id)
        alive = [sandbox_id for sandbox_id in left if await self._client.exists(sandbox_id)]
        state = "gone" if row.state == "doomed" and row.sandbox_id not in alive else row.state
        if state == "gone" and row.sandbox_id:
            await self._time.end(row)
        await self._rows.note(row, state=state, strays=[one for one in alive if one != row.sandbox_id])
        return not alive
