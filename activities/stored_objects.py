"""What snapshots put into the bucket: noted before it is put, deleted a day after nothing names it.

A sweep and an upload meet at the row of the object. A snapshot notes it before it looks whether the object
is there, and so waits for a deletion under way; a sweep skips what was noted lately or is held just now.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy import ColumnElement, delete, exists, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio.exceptions import ApplicationError

from activities.objects import Objects
from activities.tables import restore_point_packs, restore_points, stored_objects
from workflows.errors import FailureType

MIN_AGE: Final = timedelta(days=1)
"""How long ago an object must have been noted last for the sweep to delete it."""
AT_ONCE: Final = 50
"""How many objects are deleted in one transaction."""


class StoredObjects:
    """The table stored_objects, and the objects that it names."""

    def __init__(self, engine: AsyncEngine, objects: Objects) -> None:
        self._engine = engine
        self._objects = objects

    async def note(self, *, packs: Iterable[str], manifest: str) -> None:
        """Note what is about to be put, or relied on as it is there; waits for a deletion under way."""
        rows = [{"key": pack_key(pack), "pack": pack} for pack in sorted(packs)]
        # In order, so that two snapshots of the same packs wait for each other one way.
        row = insert(stored_objects).values([*rows, {"key": manifest, "pack": None}])
        async with self._engine.begin() as connection:
            await connection.execute(
                row.on_conflict_do_update(index_elements=["key"], set_={"noted_at": func.now()})
            )

    async def sweep(self, *, min_age: timedelta = MIN_AGE) -> int:
        """Delete objects that no restore point names and nobody noted lately; gives how many."""
        swept = 0
        while True:
            async with self._engine.begin() as connection:
                keys = await _lock_dead(connection, min_age)
                for key in keys:
                    await self._objects.delete(key)
                await connection.execute(delete(stored_objects).where(stored_objects.c.key.in_(keys)))
            swept += len(keys)
            if len(keys) < AT_ONCE:
                return swept


async def hold_objects(connection: AsyncConnection, packs: Iterable[str], *, manifest: str) -> None:
    """Keep the sweep from these until the caller's transaction ends; raises a retryable error on a gap."""
    keys = {manifest, *map(pack_key, packs)}
    query = select(stored_objects.c.key).where(stored_objects.c.key.in_(keys)).order_by(stored_objects.c.key)
    held = set((await connection.execute(query.with_for_update(key_share=True, read=True))).scalars())
    if gone := keys - held:
        raise ApplicationError(
            f"{len(gone)} objects of this snapshot were swept before it was committed. It is taken again.",
            type=FailureType.RETRYABLE,
        )


async def touch_objects(connection: AsyncConnection, points: Sequence[int]) -> None:
    """Let the day begin anew for all that these restore points name."""
    keys = select(restore_points.c.key).where(restore_points.c.id.in_(points))
    packs = select(restore_point_packs.c.sha256).where(restore_point_packs.c.restore_point.in_(points))
    rows = (
        select(stored_objects.c.key)
        .where(stored_objects.c.key.in_(keys) | stored_objects.c.pack.in_(packs))
        .order_by(stored_objects.c.key)
        .with_for_update()
    )
    named = (await connection.execute(rows)).scalars().all()
    await connection.execute(
        update(stored_objects).where(stored_objects.c.key.in_(named)).values(noted_at=func.now())
    )


async def _lock_dead(connection: AsyncConnection, min_age: timedelta) -> list[str]:
    query = (
        select(stored_objects.c.key)
        .where(stored_objects.c.noted_at < func.now() - min_age, ~_is_named())
        .order_by(stored_objects.c.noted_at)
        .limit(AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    locked = list((await connection.execute(query)).scalars())
    # Between the look and the lock a snapshot may have been committed: look again.
    again = select(stored_objects.c.key).where(stored_objects.c.key.in_(locked), ~_is_named())
    return list((await connection.execute(again)).scalars())


def _is_named() -> ColumnElement[bool]:
    by_point = exists().where(restore_points.c.key == stored_objects.c.key)
    by_pack = exists().where(restore_point_packs.c.sha256 == stored_objects.c.pack)
    return by_point | by_pack


def pack_key(sha256: str) -> str:
    """Name a pack in the bucket."""
    return f"packs/{sha256}/data"


def manifest_key(*, project: str, build_id: str, generation: int, number: int, sha256: str) -> str:
    """Name a manifest in the bucket; after a rewind the same change is another restore point."""
    name = f"{generation:04d}-{number:08d}-{sha256[:12]}"
    return f"projects/{project}/builds/{build_id}/manifests/{name}/manifest"
