"""The janitor: finds builds whose run was ended from outside, and closes what they left open.

Asks the rows what is open and Temporal whether anybody still works on it. A build is left alone as long as
the newest run of its chain is open, and where the server knows no run of it and is not the one that ran it:
a worker may have been led to another server or namespace with the same database.
"""

import logging
from collections import Counter
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity
from temporalio.client import WorkflowExecutionDescription, WorkflowExecutionStatus
from typing_extensions import override

from activities.builds import Builds
from activities.failures import classified
from activities.heartbeat import heartbeating
from activities.last_runs import end_of, how_closed, last_run, namespace_id
from activities.money_tables import ledger
from activities.purchases import Purchases
from activities.sandbox import Sandboxes
from activities.sandbox_time import SandboxTime
from activities.tables import builds, sandboxes
from activities.waking import RUNNING
from workflows import ports
from workflows.leftovers import Cleared, EndedBuild, EndedBuilds, FindEnded, SweepSandboxes

UNKNOWN, GONE = "UNKNOWN", "GONE"
READY = WorkflowExecutionStatus.COMPLETED.name
SETTLED = timedelta(hours=1)
"""How old a build must be for its own server's knowing no run of it to mean that it has ended."""
TOLD = 20
"""Builds that a warning names."""

log = logging.getLogger(__name__)


class Holder(NamedTuple):
    """A build that holds something."""

    build_id: str
    workflow_id: str
    status: str
    namespace_id: str
    """Of the namespace that prepared it; empty: not known."""
    started_at: datetime


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
            unknown: list[str] = []
            server = await namespace_id(activity.client())
            for holder in await self._suspects():
                how = _how_it_ended(holder, await _last_run(holder), server)
                if how == UNKNOWN:
                    unknown.append(holder.workflow_id)
                elif how:
                    named = {"build_id": holder.build_id, "workflow_id": holder.workflow_id}
                    ended.append(EndedBuild(**named, how=how))
                if len(ended) == request.most:
                    break
        if unknown:
            log.warning("Builds of another Temporal server are open in the database: %s", unknown[:TOLD])
        return EndedBuilds(builds=tuple(ended), unknown=len(unknown))

    @activity.defn
    @override
    async def clear_build(self, request: EndedBuild) -> Cleared:
        """Count its open reservations as lost, close its row, kill its sandboxes.

        It is asked again whether the chain has ended: someone may have reset it meanwhile. A build that ended
        as READY keeps its row and the sandbox of its preview.
        """
        async with heartbeating(), classified():
            (holder,) = await self._read(builds.c.id == request.build_id)
            run = await _last_run(holder)
            how = _how_it_ended(holder, run, await namespace_id(activity.client()))
            if how in ("", UNKNOWN):
                return Cleared()
            lost = await self._purchases.lose_build(holder.build_id)
            end = await end_of(activity.client(), run, holder.build_id)
            keeps = READY in (how, holder.status.upper())
            killed = 0 if keeps else await self._sandboxes.kill_of(holder.build_id)
            await self._time.settle(holder.build_id)
            return Cleared(lost=lost, closed=await self._builds.close_open(end), killed=killed)

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
        return await self._read(
            builds.c.finished_at.is_(None) | has_money | ((builds.c.status == "failed") & has_sandbox)
        )

    async def _read(self, which: ColumnElement[bool]) -> list[Holder]:
        names = ("id", "workflow_id", "status", "namespace_id", "started_at")
        query = select(*(builds.c[name] for name in names)).where(which).order_by(builds.c.started_at)
        async with self._engine.connect() as connection:
            return [Holder(*row) for row in await connection.execute(query)]


async def _last_run(holder: Holder) -> WorkflowExecutionDescription | None:
    return await last_run(activity.client(), holder.workflow_id, holder.build_id)


def _how_it_ended(holder: Holder, run: WorkflowExecutionDescription | None, server: str) -> str:
    """Give how a build's chain of runs closed: empty while it is open; GONE, UNKNOWN where there is no run.

    `server` is the namespace that is asked. What runs never vanishes from it, and what was there is forgotten
    only after it has closed.
    """
    if run is not None:
        return how_closed(run)
    is_old = activity.info().started_time - holder.started_at > SETTLED
    return GONE if is_old and server and server == holder.namespace_id else UNKNOWN
