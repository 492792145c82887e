"""The janitor: finds builds whose run was ended from outside, and closes what they left open.

Asks the rows what is open and Temporal whether anybody still works on it. A build is one chain of runs, named
for the first; it is left alone as long as its newest run is open, and where the server knows no run of it.
"""

import logging
from collections import Counter
from typing import NamedTuple

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode
from typing_extensions import override

from activities.builds import Builds
from activities.failures import classified
from activities.heartbeat import heartbeating
from activities.money_tables import ledger
from activities.purchases import Purchases
from activities.sandbox import Sandboxes
from activities.sandbox_time import SandboxTime
from activities.tables import builds, sandboxes
from activities.waking import RUNNING
from workflows import ports
from workflows.errors import Outcome
from workflows.leftovers import Cleared, EndedBuild, EndedBuilds, FindEnded, SweepSandboxes
from workflows.models import FinishBuild

UNKNOWN = "UNKNOWN"
READY = WorkflowExecutionStatus.COMPLETED.name
CLOSED = (
    WorkflowExecutionStatus.COMPLETED,
    WorkflowExecutionStatus.FAILED,
    WorkflowExecutionStatus.CANCELED,
    WorkflowExecutionStatus.TERMINATED,
    WorkflowExecutionStatus.CONTINUED_AS_NEW,
    WorkflowExecutionStatus.TIMED_OUT,
)

log = logging.getLogger(__name__)


class Holder(NamedTuple):
    """A build that holds something."""

    build_id: str
    workflow_id: str


class Janitor(ports.Janitor):
    """Closes what ended builds of this installation left open."""

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        builds: Builds,
        purchases: Purchases,
        sandboxes: Sandboxes,
        time: SandboxTime,
    ) -> None:
        self._engine = engine
        self._builds = builds
        self._purchases = purchases
        self._sandboxes = sandboxes
        self._time = time

    @activity.defn
    @override
    async def find_ended(self, request: FindEnded) -> EndedBuilds:
        """Find builds that hold a row, money or sandboxes although their chain of runs has closed."""
        async with heartbeating(), classified():
            ended: list[EndedBuild] = []
            unknown = 0
            for holder in await self._suspects():
                how = await _how_it_ended(holder, activity.client())
                unknown += how == UNKNOWN
                if how and how != UNKNOWN:
                    ended.append(EndedBuild(**holder._asdict(), how=how))
                if len(ended) == request.most:
                    break
        if unknown:
            log.warning("%s builds are open in the database and unknown to this Temporal server.", unknown)
        return EndedBuilds(builds=tuple(ended), unknown=unknown)

    @activity.defn
    @override
    async def clear_build(self, request: EndedBuild) -> Cleared:
        """Count its open reservations as lost, close its row, kill its sandboxes.

        It is asked again whether the chain has ended: someone may have reset it meanwhile. A build that ended
        as READY keeps its row and the sandbox of its preview.
        """
        async with heartbeating(), classified():
            holder = Holder(request.build_id, request.workflow_id)
            how = await _how_it_ended(holder, activity.client())
            if how in ("", UNKNOWN):
                return Cleared()
            lost = await self._purchases.lose_build(request.build_id)
            if how == READY:
                await self._time.settle(request.build_id)
                return Cleared(lost=lost)
            killed = await self._sandboxes.kill_of(request.build_id)
            await self._time.settle(request.build_id)
            return Cleared(lost=lost, closed=await self._builds.close_open(_end_of(request)), killed=killed)

    @activity.defn
    @override
    async def sweep_sandboxes(self, request: SweepSandboxes) -> int:
        """Kill the sandboxes of this installation that no build holds; gives how many."""
        async with heartbeating(), classified():
            cleared = await self._sandboxes.kill_doomed()
            swept = await self._sandboxes.sweep(min_age=request.min_age)
            await self._time.end_expired()
            return cleared + len(swept)

    async def _suspects(self) -> list[Holder]:
        """Give the builds that hold something and are not on the server's list of running ones.

        That list is a little behind, so it only spares asking of each of thousands that sleep. Of builds that
        share a workflow id, at most one runs.
        """
        holders = await self._holders()
        if not holders:
            return []
        running = {each.id async for each in activity.client().list_workflows(RUNNING)}
        named = Counter(holder.workflow_id for holder in holders)
        return [each for each in holders if each.workflow_id not in running or named[each.workflow_id] > 1]

    async def _holders(self) -> list[Holder]:
        has_money = exists().where(ledger.c.build_id == builds.c.id, ledger.c.state == "reserved")
        has_sandbox = exists().where(
            sandboxes.c.build_id == builds.c.id, sandboxes.c.state.in_(("creating", "live", "paused"))
        )
        query = (
            select(builds.c.id, builds.c.workflow_id)
            .where(builds.c.finished_at.is_(None) | has_money | ((builds.c.status == "failed") & has_sandbox))
            .order_by(builds.c.started_at)
        )
        async with self._engine.connect() as connection:
            return [Holder(*row) for row in await connection.execute(query)]


async def _how_it_ended(holder: Holder, client: Client) -> str:
    """Give how a build's chain of runs closed; empty while it is open, UNKNOWN where there is no run."""
    newest = await _describe(client, holder.workflow_id)
    if newest is None:
        return UNKNOWN
    if holder.build_id in (newest.run_id, _first_run(newest)):
        return _closed(newest)
    # Another build took the workflow id, or the run is one of a chain that a reset began.
    own = await _describe(client, holder.workflow_id, run_id=holder.build_id)
    if own is None:
        return UNKNOWN
    return _closed(newest if _first_run(own) == _first_run(newest) else own)


def _first_run(run: WorkflowExecutionDescription) -> str:
    return run.raw_description.workflow_execution_info.first_run_id


def _closed(run: WorkflowExecutionDescription) -> str:
    """Give how a run closed; whatever is not known to be closed is open."""
    return run.status.name if run.status is not None and run.status in CLOSED else ""


async def _describe(
    client: Client, workflow_id: str, *, run_id: str | None = None
) -> WorkflowExecutionDescription | None:
    try:
        return await client.get_workflow_handle(workflow_id, run_id=run_id).describe()
    except RPCError as error:
        if error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT):
            return None
        raise


def _end_of(build: EndedBuild) -> FinishBuild:
    return FinishBuild(
        build_id=build.build_id,
        status="failed",
        outcome=Outcome.TERMINATED,
        message="Its run was ended from outside, so it could tidy up nothing itself. "
        "Its files stand as of the last snapshot; a further build of the project goes on from there.",
        debug_id=build.build_id[:8],
    )
