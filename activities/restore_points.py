"""The rows of restore points: a committed row *is* the restore point. Knows Postgres only.

Every write is fenced by the sandbox's generation: a build that moved on takes nothing from the old sandbox.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio.exceptions import ApplicationError

from activities.chains import Link, chain_of, hold_chain, is_whole
from activities.failures import lost
from activities.sandbox_rows import is_current
from activities.stored_objects import hold_objects
from activities.tables import restore_point_packs, restore_points
from workflows.errors import FailureType
from workflows.files import RestorePoint, TakeSnapshot


class NewRestorePoint(NamedTuple):
    """What a snapshot found, to be committed."""

    number: int
    """Of the capture, in its sandbox."""
    key: str
    kind: str
    """full, delta."""
    parent: int | None
    """The restore point that a delta builds on."""
    files: int
    changed: int
    bytes: int
    """Uploaded, bytes."""
    omitted: tuple[str, ...]
    packs: Mapping[str, int]
    """Digest of each pack that the manifest names, and its length in bytes (0: known from before)."""


class Last(NamedTuple):
    """The newest restore point of a sandbox."""

    id: int | None
    """Its row; none while there is none."""
    number: int
    """Of its capture, or more; 0 while there is none."""


class RestorePoints:
    """The tables restore_points and restore_point_packs."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def newest(self, request: TakeSnapshot) -> RestorePoint | None:
        """Give the newest restore point of the sandbox, else the parent; none for a first snapshot."""
        async with self._engine.connect() as connection:
            found = await _first(connection, _of_sandbox(request))
            if found is None and request.parent is not None:
                found = await _first(connection, restore_points.c.id == request.parent)
        return found

    async def last(self, request: TakeSnapshot) -> Last:
        """Give the newest restore point of the sandbox."""
        async with self._engine.connect() as connection:
            return await _last(connection, request)

    async def commit(self, request: TakeSnapshot, new: NewRestorePoint, *, after: int | None) -> RestorePoint:
        """Write a restore point and its packs in one transaction, once per capture.

        Raises SandboxLost when another generation has taken over, and a retried failure when `after` is no
        more the sandbox's newest restore point: another attempt has saved what may be newer.
        """
        async with self._engine.begin() as connection:
            if not await is_current(connection, request.build_id, request.sandbox):
                raise lost(request.sandbox.sandbox_id, "a newer sandbox has taken over")
            if found := await _first(connection, restore_points.c.key == new.key):
                return found
            if (await _last(connection, request)).id != after:
                text = "Another attempt has saved these files meanwhile; it is looked at again."
                raise ApplicationError(text, type=FailureType.RETRYABLE)
            await _hold_parent(connection, new.parent)
            await hold_objects(connection, new.packs, manifest=new.key)
            row_id = await _insert(connection, request, new)
        return RestorePoint(
            restore_point=row_id,
            key=new.key,
            files=new.files,
            changed=new.changed,
            bytes=new.bytes,
            omitted=new.omitted,
        )

    async def by_key(self, project: str, key: str) -> RestorePoint | None:
        """Give the restore point of a project that has this manifest."""
        async with self._engine.connect() as connection:
            return await _first(
                connection, (restore_points.c.project == project) & (restore_points.c.key == key)
            )

    async def chain(self, restore_point: int) -> list[Link]:
        """Give the manifests that hold a restore point's state, oldest first; raises LookupError on a gap."""
        async with self._engine.connect() as connection:
            links = await chain_of(connection, restore_point)
        if not is_whole(links):
            raise LookupError(
                "It is not there." if not links else "A manifest that it builds on is not there."
            )
        return links

    async def packs(self, chain: list[Link]) -> dict[str, int]:
        """Give the packs that a chain names, with their lengths in bytes."""
        ids = [link.restore_point for link in chain]
        table = restore_point_packs
        query = select(table.c.sha256, table.c.bytes).where(table.c.restore_point.in_(ids))
        async with self._engine.connect() as connection:
            return {row.sha256: row.bytes for row in await connection.execute(query)}


async def _last(connection: AsyncConnection, request: TakeSnapshot) -> Last:
    columns = func.max(restore_points.c.id), func.coalesce(func.max(restore_points.c.number), 0)
    return Last(*(await connection.execute(select(*columns).where(_of_sandbox(request)))).one())


def _of_sandbox(request: TakeSnapshot) -> Any:
    return (restore_points.c.build_id == request.build_id) & (
        restore_points.c.generation == request.sandbox.generation
    )


async def _first(connection: AsyncConnection, condition: Any) -> RestorePoint | None:
    query = select(restore_points).where(condition).order_by(restore_points.c.id.desc()).limit(1)
    found = (await connection.execute(query)).mappings().one_or_none()
    if found is None:
        return None
    return RestorePoint(
        restore_point=found["id"],
        key=found["key"],
        files=found["files"],
        changed=found["changed"],
        bytes=found["bytes"],
        omitted=tuple(found["omitted"]),
    )


async def _hold_parent(connection: AsyncConnection, parent: int | None) -> None:
    """Keep the parent from being pruned until the caller's transaction ends; raises a retryable error."""
    if parent is not None and not await hold_chain(connection, parent):
        raise ApplicationError(f"Restore point {parent} was pruned.", type=FailureType.RETRYABLE)


async def _insert(connection: AsyncConnection, request: TakeSnapshot, new: NewRestorePoint) -> int:
    # A runner whose state was deleted counts from one again; the row's number still grows.
    number = max(new.number, (await _last(connection, request)).number + 1)
    values = {
        "build_id": request.build_id,
        "project": request.project,
        "parent_id": new.parent,
        "number": number,
        "generation": request.sandbox.generation,
        "key": new.key,
        "kind": new.kind,
        "reason": request.reason,
        "turn": request.turn,
        "head_id": request.head,
        "unended": request.unended,
        "phase": request.phase,
        "note": request.note,
        "files": new.files,
        "changed": new.changed,
        "bytes": new.bytes,
        "omitted": list(new.omitted),
    }
    statement = insert(restore_points).values(values).returning(restore_points.c.id)
    row_id: int = (await connection.execute(statement)).scalar_one()
    packs = [{"restore_point": row_id, "sha256": name, "bytes": size} for name, size in new.packs.items()]
    if packs:
        await connection.execute(insert(restore_point_packs), packs)
    return row_id
