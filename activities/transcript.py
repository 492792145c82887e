"""The conversation: an append-only tree of rows in Postgres, kept and sent as the same JSON text.

Owns rows and tool results; knows neither the model's vendor nor money. A row of role `system` holds the
frozen prefix and starts an epoch: a path ends there.
"""

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from pydantic import JsonValue
from sqlalchemy import BigInteger, Executable, RowMapping, bindparam, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio.exceptions import ApplicationError

from activities.fence import fenced, replaced
from activities.rows import Role, Row, RowCache, digest, dump
from activities.tables import tool_results, tool_starts, transcript


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """The one result of a tool call."""

    tool_use_id: str
    body: str
    """JSON text of a whole tool_result block."""
    preview: str
    is_error: bool
    generation: int
    effects: str = "{}"
    """JSON text of what the workflow is told of the call beside that."""

    @property
    def digest(self) -> str:
        """Tells results apart whatever call they belong to."""
        block = json.loads(self.body)
        return sha256(dump([block["content"], self.is_error]).encode()).hexdigest()[:8]


class Transcript:
    """Reads and appends rows; writes each tool call's start and result once."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._cache = RowCache()

    async def path(self, head: int) -> tuple[Row, ...]:
        """Give the rows from the epoch's system row to `head`; only rows not cached are read."""
        if (known := self._cache.path(head)) is not None:
            return known
        async with self._engine.connect() as connection:
            found = await connection.execute(_upwards(), {"head": head})
            rows = [_row(mapping) for mapping in found.mappings()]
        if not rows:
            raise _bug(f"Transcript row {head} does not exist.")
        for row in rows:
            self._cache.keep(row)
        return tuple(reversed(rows))

    async def whole(self, head: int) -> tuple[list[Row], dict[str, ToolResult]]:
        """Give the rows of all epochs up to `head`, and the tool results that may stand in none of them."""
        rows, results = list(await self.path(head)), await self.results_for(head)
        while (older := rows[0].parent_id) is not None:
            rows = [*await self.path(older), *rows]
            results |= await self.results_for(older)
        return rows, results

    async def find(self, connection: AsyncConnection, parent: Row, *, role: Role, body: str) -> int | None:
        """Give the id of the row that says this after `parent`, if it was appended."""
        return await self.known(
            connection, build_id=parent.build_id, parent_id=parent.id, role=role, body=body
        )

    async def known(
        self, connection: AsyncConnection, *, build_id: str, parent_id: int, role: Role, body: str
    ) -> int | None:
        """Give the id of a build's row that says this after a row of whatever build."""
        query = select(transcript.c.id).where(
            transcript.c.build_id == build_id,
            transcript.c.parent_id == parent_id,
            transcript.c.digest == digest(role, body),
        )
        return (await connection.execute(query)).scalar_one_or_none()

    async def epoch_at(self, head: int) -> int | None:
        """Give the system row of the epoch that was opened after `head`, if one was."""
        query = select(transcript.c.id).filter_by(parent_id=head, role="system")
        async with self._engine.connect() as connection:
            return (await connection.execute(query)).scalar_one_or_none()

    async def open_epoch(self, head: int) -> int:
        """Start a new epoch after `head` with the same prefix; gives its system row."""
        path = await self.path(head)
        root = path[0]
        values: dict[str, Any] = {"build_id": path[-1].build_id, "body": root.body, "epoch": root.epoch + 1}
        async with self._engine.begin() as connection:
            return await self.append(connection, parent_id=head, role="system", **values)

    async def append(
        self,
        connection: AsyncConnection,
        *,
        build_id: str,
        parent_id: int | None,
        role: Role,
        body: str,
        epoch: int = 0,
    ) -> int:
        """Append a row in the caller's transaction and give its id; one that is there is not doubled."""
        key = {"build_id": build_id, "parent_id": parent_id, "digest": digest(role, body)}
        added = await connection.execute(
            insert(transcript)
            .values(**key, role=role, body=body, epoch=epoch)
            .on_conflict_do_nothing()
            .returning(transcript.c.id)
        )
        row_id = added.scalar_one_or_none()
        if row_id is None:
            known = select(transcript.c.id).filter_by(build_id=build_id, digest=key["digest"])
            same_parent = transcript.c.parent_id.is_not_distinct_from(parent_id)
            row_id = (await connection.execute(known.where(same_parent))).scalar_one()
        self._cache.keep(
            Row(id=row_id, build_id=build_id, parent_id=parent_id, role=role, body=body, epoch=epoch)
        )
        return row_id

    async def tool_input(self, head: int, tool_use_id: str) -> JsonValue:
        """Give the input of a tool call of the reply `head`, as the model wrote it."""
        row = (await self.path(head))[-1]
        for block in json.loads(row.body):
            if block.get("type") == "tool_use" and block["id"] == tool_use_id:
                return block["input"]
        raise _bug(f"Reply {head} holds no tool call {tool_use_id!r}.")

    async def note_start(self, head: int, tool_use_id: str, *, generation: int) -> int | None:
        """Note, before a first attempt, in which generation it is made.

        Gives the generation of an earlier attempt if there was one, else nothing. Raises SandboxLost when a
        newer sandbox of the build has taken over since.
        """
        row = {"head_id": head, "tool_use_id": tool_use_id, "generation": generation}
        async with self._engine.begin() as connection:
            noted = await connection.execute(fenced(tool_starts, row))
        if noted.rowcount:
            return None
        if (earlier := await self.began(head, tool_use_id)) is not None:
            return earlier
        raise replaced(f"{tool_use_id} was not begun", generation)

    async def began(self, head: int, tool_use_id: str) -> int | None:
        """Give in which generation a tool call was begun; none where it was not."""
        query = select(tool_starts.c.generation).filter_by(head_id=head, tool_use_id=tool_use_id)
        async with self._engine.connect() as connection:
            return (await connection.execute(query)).scalar_one_or_none()

    async def result(self, head: int, tool_use_id: str) -> ToolResult | None:
        """Give the result of a tool call if it has one."""
        query = select(tool_results).filter_by(head_id=head, tool_use_id=tool_use_id)
        async with self._engine.connect() as connection:
            found = (await connection.execute(query)).mappings().one_or_none()
        return _result(found) if found else None

    async def results_for(self, head: int) -> dict[str, ToolResult]:
        """Give the results of a reply's tool calls by tool_use id."""
        query = select(tool_results).filter_by(head_id=head)
        async with self._engine.connect() as connection:
            return {row["tool_use_id"]: _result(row) for row in (await connection.execute(query)).mappings()}

    async def write_result(
        self,
        head: int,
        tool_use_id: str,
        *,
        content: JsonValue,
        is_error: bool,
        generation: int,
        preview: str = "",
        effects: dict[str, JsonValue] | None = None,
    ) -> ToolResult:
        """Write a call's one result; an earlier one stays and is given back.

        Raises SandboxLost when a newer sandbox of the build has taken over since.
        """
        block: dict[str, JsonValue] = {"type": "tool_result", "tool_use_id": tool_use_id, "content": content}
        row: dict[str, Any] = {
            "head_id": head,
            "tool_use_id": tool_use_id,
            "body": dump(block | {"is_error": True} if is_error else block),
            "preview": json.loads(dump(preview)).replace("\0", ""),
            "is_error": is_error,
            "generation": generation,
            "effects": dump(effects or {}),
        }
        async with self._engine.begin() as connection:
            await connection.execute(fenced(tool_results, row))
        if found := await self.result(head, tool_use_id):
            return found
        raise replaced(f"The result of {tool_use_id} was not kept", generation)


def _upwards() -> Executable:
    """From the row `:head` up to its system row, newest first."""
    columns = [transcript.c[name] for name in Row.__slots__]
    start = select(*columns, literal(0).label("depth")).where(
        transcript.c.id == bindparam("head", type_=BigInteger)
    )
    path = start.cte("path", recursive=True)
    parents = select(*columns, path.c.depth + 1).join(
        path, (transcript.c.id == path.c.parent_id) & (path.c.role != "system")
    )
    path = path.union_all(parents)
    return select(*(path.c[name] for name in Row.__slots__)).order_by(path.c.depth)


def _row(found: RowMapping) -> Row:
    return Row(**{name: found[name] for name in Row.__slots__})


def _result(found: RowMapping) -> ToolResult:
    return ToolResult(**{name: found[name] for name in ToolResult.__slots__})


def _bug(text: str) -> ApplicationError:
    return ApplicationError(f"{text} This is a bug of ours.", type="InvalidTranscript", non_retryable=True)
