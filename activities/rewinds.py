"""Takes a build back to one of its restore points: its conversation, its phases, its guide. Knows the rows.

The files follow by a sandbox that is restored from the same point; the ledger is never touched.
"""

from collections.abc import Awaitable, Callable

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity
from typing_extensions import override

from activities.branches import Branches, Point, hold_point
from activities.failures import classified
from activities.heartbeat import heartbeating
from activities.progress import open_phases
from activities.tables import builds, restore_points
from workflows import ports
from workflows.branches import FindRestorePoint, Rewind, RewindBuild, Rewound
from workflows.models import BuildPlan

NOTE = (
    "[rewind] On {at} the founder took this build back to turn {turn}. The files in the workspace and this "
    "conversation are as they were then; whatever was done after it is undone. Background processes and "
    "everything outside the workspace are gone."
)
ReadManifest = Callable[[int], Awaitable[object]]
"""Reads the whole state of a restore point; raises InvalidRestorePoint."""


class Rewinds(ports.Rewinds):
    """Goes back, over the rows."""

    def __init__(self, engine: AsyncEngine, branches: Branches, *, manifest: ReadManifest) -> None:
        self._engine = engine
        self._branches = branches
        self._manifest = manifest

    @activity.defn
    @override
    async def find_restore_point(self, request: FindRestorePoint) -> Rewind:
        """Find a kept restore point of the build and see that it stays; raises the refusal, with a list.

        Raises InvalidRestorePoint for a damaged one, before the build has left what it stands on.
        """
        async with heartbeating(), classified():
            async with self._engine.begin() as connection:
                point = await hold_point(connection, request.build_id, request.turn)
                # For good: no one tells whether it was gone back to, or a later wish came first.
                row = update(restore_points).filter_by(id=point.id).values(held=True)
                await connection.execute(row)
            await self._manifest(point.id)
        return Rewind(restore_point=point.id, key=point.key, turn=point.turn)

    @activity.defn
    @override
    async def rewind_build(self, request: RewindBuild) -> Rewound:
        """Have the conversation, the phases and the guide go on from a restore point; once a rewind."""
        async with heartbeating(), classified():
            rewind = request.rewind
            async with self._engine.connect() as connection:
                point = await hold_point(connection, request.build_id, rewind.turn, id_=rewind.restore_point)
            branch = await self._branches.at(point)
            # The moment makes it another message than that of an earlier rewind, whose reply was bought.
            at = rewind.at.isoformat(timespec="milliseconds") if rewind.at else "request"
            body = branch.opening(NOTE.format(at=at, turn=point.turn))
            async with self._engine.begin() as connection:
                head = await self._branches.begin(connection, branch, build_id=request.build_id, body=body)
                await _leave_behind(connection, point)
                plan = await _plan(connection, request.build_id)
        return Rewound(
            head=head,
            phase=branch.phases[-1] if branch.phases else "",
            open_phases=open_phases(plan, branch.phases),
        )


async def _plan(connection: AsyncConnection, build_id: str) -> BuildPlan:
    query = select(builds.c.plan).filter_by(id=build_id)
    return BuildPlan.model_validate((await connection.execute(query)).scalar_one())


async def _leave_behind(connection: AsyncConnection, point: Point) -> None:
    """See that a further build of the project begins at this one, not at what was undone."""
    mine = restore_points.c.build_id == point.build_id
    await connection.execute(
        update(restore_points).where(mine).values(left_behind=restore_points.c.id > point.id)
    )
