"""The rows of a build's sandboxes: which generation holds, which id it has, which ids must be killed.

Knows Postgres and no provider. A row is written before its sandbox is asked for, so that none is orphaned.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import RowMapping, and_, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio.exceptions import ApplicationError

from activities.tables import installation, sandboxes
from workflows.errors import FailureType
from workflows.files import SandboxRef

_DETAILS = sandboxes.c.details


class SandboxRow(NamedTuple):
    """One sandbox of a build, as the database knows it."""

    build_id: str
    role: str
    generation: int
    sandbox_id: str
    """Empty until the provider answered."""
    state: str
    """creating, live, paused, doomed, gone."""
    details: dict[str, Any]
    """home, workspace, identity, run_ends, nonce of a planned pause, attempt, strays (to be killed)."""
    changed_at: datetime
    """The version that was read."""

    @property
    def reference(self) -> SandboxRef:
        """The row as the workflow holds it."""
        return SandboxRef(
            sandbox_id=self.sandbox_id,
            generation=self.generation,
            home=str(self.details.get("home", "")),
            workspace=str(self.details.get("workspace", "")),
            run_ends=self.run_ends,
            identity=str(self.details.get("identity", "")),
        )

    @property
    def run_ends(self) -> datetime | None:
        """When the provider ends its longest run; none where that was never noted."""
        noted = self.details.get("run_ends")
        return datetime.fromisoformat(noted) if noted else None

    @property
    def attempt(self) -> int:
        """How often this generation was asked for after an earlier one was killed."""
        return int(self.details.get("attempt", 0))

    def holds(self, sandbox_id: str) -> bool:
        """Tell whether the build may use this sandbox."""
        return self.sandbox_id == sandbox_id and self.state not in {"doomed", "gone"}


class SandboxRows:
    """The sandboxes table."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def installation(self) -> str:
        """Give the id of this database, which alone knows what its rows asked for."""
        async with self._engine.connect() as connection:
            return (await connection.execute(select(installation.c.id))).scalar_one()

    async def open(self, build_id: str, *, role: str, generation: int) -> SandboxRow:
        """Give the row of this generation, made where it is missing, made anew where it had ended."""
        key = {"build_id": build_id, "role": role, "generation": generation}
        async with self._engine.begin() as connection:
            await connection.execute(
                insert(sandboxes).values(**key, state="creating").on_conflict_do_nothing()
            )
            row = await _one(connection, is_row(build_id, role, generation), lock=True)
            assert row is not None
            if row.state not in {"gone", "doomed"}:
                return row
            return await self._reopen(connection, row)

    async def _reopen(self, connection: AsyncConnection, row: SandboxRow) -> SandboxRow:
        strays = [*row.details.get("strays", [])]
        if row.state == "doomed" and row.sandbox_id:
            strays.append(row.sandbox_id)
        details = {"attempt": row.attempt + 1, "strays": strays}
        values = {"state": "creating", "sandbox_id": "", "details": details}
        return await _write(connection, row, values)

    async def note(
        self, row: SandboxRow, *, state: str, sandbox_id: str | None = None, **details: object
    ) -> SandboxRow:
        """Write a new state and add to the details.

        Raises a retryable error where the row was changed since it was read: what is to follow may not any
        more, as when this attempt stood still and another has done all of it.
        """
        values: dict[str, Any] = {"state": state, "details": _DETAILS.concat(details)}
        if sandbox_id is not None:
            values["sandbox_id"] = sandbox_id
        async with self._engine.begin() as connection:
            return await _write(connection, row, values)

    async def find(self, build_id: str, sandbox_id: str) -> SandboxRow | None:
        """Give the row of a sandbox by its id; none when the build never had it."""
        async with self._engine.connect() as connection:
            return await _one(
                connection, and_(sandboxes.c.build_id == build_id, sandboxes.c.sandbox_id == sandbox_id)
            )

    async def that_asked(self, metadata: Mapping[str, str]) -> SandboxRow | None:
        """Give the row that asked for a sandbox with this metadata; it may hold another by now, or none."""
        build_id, role, generation = (metadata.get(key, "") for key in ("build", "role", "generation"))
        if not generation.isdecimal():
            return None
        async with self._engine.connect() as connection:
            return await _one(connection, is_row(build_id, role, int(generation)))

    async def of_build(self, build_id: str) -> list[SandboxRow]:
        """Give every row of a build."""
        query = select(sandboxes).where(sandboxes.c.build_id == build_id)
        async with self._engine.connect() as connection:
            return [_row(found) for found in (await connection.execute(query)).mappings()]

    async def older(self, row: SandboxRow) -> list[SandboxRow]:
        """Give the live rows of this build and role with an older generation."""
        query = select(sandboxes).where(
            sandboxes.c.build_id == row.build_id,
            sandboxes.c.role == row.role,
            sandboxes.c.generation < row.generation,
            sandboxes.c.state != "gone",
        )
        async with self._engine.connect() as connection:
            return [_row(found) for found in (await connection.execute(query)).mappings()]

    async def doomed(self) -> list[SandboxRow]:
        """Give every row that still names ids to be killed."""
        query = select(sandboxes).where(
            (sandboxes.c.state == "doomed") | (func.jsonb_array_length(_strays()) > 0)
        )
        async with self._engine.connect() as connection:
            return [_row(found) for found in (await connection.execute(query)).mappings()]


async def is_current(connection: AsyncConnection, build_id: str, sandbox: SandboxRef) -> bool:
    """Lock a sandbox's row and tell whether it is the newest generation of its role, not killed.

    Held to the end of the caller's transaction: what it then writes is fenced by the generation.
    """
    row = await _one(
        connection,
        and_(sandboxes.c.build_id == build_id, sandboxes.c.sandbox_id == sandbox.sandbox_id),
        lock=True,
    )
    if row is None or row.generation != sandbox.generation or row.state in {"doomed", "gone"}:
        return False
    newest = select(func.max(sandboxes.c.generation)).where(
        sandboxes.c.build_id == build_id, sandboxes.c.role == row.role
    )
    return (await connection.execute(newest)).scalar_one() == sandbox.generation


def is_row(build_id: str, role: str, generation: int) -> Any:
    """Give the condition that picks a sandbox's row."""
    return and_(
        sandboxes.c.build_id == build_id,
        sandboxes.c.role == role,
        sandboxes.c.generation == generation,
    )


async def _write(connection: AsyncConnection, row: SandboxRow, values: Mapping[str, Any]) -> SandboxRow:
    written = await connection.execute(
        update(sandboxes)
        .where(is_row(row.build_id, row.role, row.generation), sandboxes.c.changed_at == row.changed_at)
        .values({**values, "changed_at": func.clock_timestamp()})
        .returning(*(sandboxes.c[name] for name in SandboxRow._fields))
    )
    if found := written.mappings().one_or_none():
        return _row(found)
    raise ApplicationError(
        f"Sandbox generation {row.generation} of build {row.build_id} was changed by another attempt.",
        type=FailureType.RETRYABLE,
    )


def _strays() -> Any:
    return func.coalesce(_DETAILS["strays"], func.jsonb_build_array())


async def _one(connection: AsyncConnection, condition: Any, *, lock: bool = False) -> SandboxRow | None:
    query = select(sandboxes).where(condition)
    found = (await connection.execute(query.with_for_update() if lock else query)).mappings().one_or_none()
    return _row(found) if found else None


def _row(found: RowMapping | Mapping[str, Any]) -> SandboxRow:
    return SandboxRow(**{name: found[name] for name in SandboxRow._fields})
