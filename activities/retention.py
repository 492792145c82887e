"""Retention: which restore points are kept, and the end of those that are not. Knows rows and the bucket.

Kept are the newest of each build, the newest of each of its phases, those that a build began at or was asked
to go back to; and, for these, the rows that their chains go through.
"""

from typing import Any, Final

from sqlalchemy import Select, delete, func, select
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity
from typing_extensions import override

from activities.chains import with_chains
from activities.failures import classified
from activities.heartbeat import heartbeating
from activities.stored_objects import StoredObjects, touch_objects
from activities.tables import builds, restore_points
from workflows import ports
from workflows.leftovers import Pruned, PruneFiles

NEWEST: Final = 5
"""How many restore points of a build are kept for being the newest."""
AT_ONCE: Final = 500
"""How many are deleted in one transaction."""


class Retention(ports.Retention):
    """Deletes what nobody can ask for any more."""

    def __init__(self, engine: AsyncEngine, stored: StoredObjects) -> None:
        self._engine = engine
        self._stored = stored

    @activity.defn
    @override
    async def prune_files(self, request: PruneFiles) -> Pruned:
        """Delete restore points that are not kept, then objects that none has named for a day."""
        async with heartbeating(), classified():
            points = 0
            while pruned := await self.prune():
                points += pruned
            return Pruned(points=points, objects=await self._stored.sweep(min_age=request.min_age))

    async def prune(self) -> int:
        """Delete some restore points that are not kept; gives how many.

        A fork, a rewind or a snapshot that relies on one holds its row; so it is skipped here, or, once the
        lock is had, looked at again.
        """
        table = restore_points
        rows = select(table.c.id).where(table.c.id.not_in(_kept())).order_by(table.c.id).limit(AT_ONCE)
        async with self._engine.begin() as connection:
            found = (await connection.execute(rows.with_for_update(skip_locked=True))).scalars().all()
            again = select(table.c.id).where(table.c.id.in_(found), table.c.id.not_in(_kept()))
            dropped = (await connection.execute(again)).scalars().all()
            await touch_objects(connection, dropped)
            await connection.execute(delete(table).where(table.c.id.in_(dropped)))
        return len(dropped)


def _kept() -> Select[Any]:
    """The ids of what is kept, with the chains of manifests under it."""
    table, id_ = restore_points, restore_points.c.id
    place = func.row_number().over(partition_by=table.c.build_id, order_by=id_.desc())
    in_phase = func.row_number().over(partition_by=(table.c.build_id, table.c.phase), order_by=id_.desc())
    ranked = select(
        id_,
        table.c.parent_id,
        table.c.kind,
        table.c.phase,
        table.c.held,
        place.label("place"),
        in_phase.label("in_phase"),
    ).subquery()
    stood_on = select(builds.c.restore_point).where(builds.c.restore_point.is_not(None))
    wanted = (ranked.c.place <= NEWEST) | ((ranked.c.phase != "") & (ranked.c.in_phase == 1))
    return with_chains(wanted | ranked.c.held | ranked.c.id.in_(stood_on), ranked)
