"""Where a conversation branches off: at a restore point, so that files and conversation are of one moment.

A branch begins with a message of its own after the row that the files belong to. All rows before it are
shared; no row after it is, so no reply is taken over, and no tool call is named, that another branch made.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio.exceptions import ApplicationError

from activities.chains import hold_chain, whole_points
from activities.conversation import tool_uses
from activities.money_tables import ledger
from activities.progress import set_progress
from activities.rows import Row, dump
from activities.story import blocks_of
from activities.tables import builds, restore_points
from activities.transcript import ToolResult, Transcript
from workflows.errors import FailureType

UNKNOWN_RESULT = (
    "No result is known: the build was interrupted. The call may not have run, or only in part; "
    "look before you make it again."
)
"""Answers a call of the last reply that has no result, as the build was ended within that turn."""
UNDONE_RESULT = (
    "Undone: this call was made after the moment that the files are of, so what it changed is not there. "
    "Make it again if you still need it."
)
"""Answers a call of the last reply that ended after the restore point was taken."""
MOST_LISTED = 25
"""Restore points that a refusal lists, the newest."""


class Point(NamedTuple):
    """A restore point that a branch may begin at."""

    id: int
    build_id: str
    project: str
    turn: int
    head_id: int
    unended: int
    """Calls of that reply, its last ones, that had not ended then."""
    key: str
    reason: str
    phase: str
    note: str
    created_at: datetime

    def line(self) -> str:
        """Give it as people choose it."""
        shown = f"turn {self.turn}, {self.created_at:%Y-%m-%d %H:%M} UTC, {self.reason}"
        return f"{shown}, {self.phase}" if self.phase else shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """What there is at a restore point, besides the files."""

    point: Point
    blocks: tuple[str, ...]
    """JSON texts: the results of the last reply's calls, in order, and what a lost sandbox had undone."""
    phases: tuple[str, ...]
    """Begun by then, in order."""
    documents: Mapping[str, str]
    """Sections of the guide, as they were."""
    cost: int
    """What the conversation had cost, microdollars, whoever paid it."""

    def opening(self, *words: str) -> str:
        """Give the JSON text of the message that the branch begins with."""
        told = [{"type": "text", "text": text} for text in words if text]
        return dump([*map(json.loads, self.blocks), *told])


class Branches:
    """Reads what a branch begins with, and begins it."""

    def __init__(self, engine: AsyncEngine, transcript: Transcript) -> None:
        self._engine = engine
        self._transcript = transcript

    async def at(self, point: Point) -> Branch:
        """Read the conversation up to a restore point."""
        rows, results = await self._transcript.whole(point.head_id)
        asked = [block["id"] for block in _asked(rows[-1])]
        undone = _undone(asked[len(asked) - point.unended :], results)
        held = {use: result for use, result in results.items() if use not in undone}
        phases, documents = told_until(rows, held)
        answers = [
            known.body
            if (known := held.get(use))
            else _failed(use, UNDONE_RESULT if use in undone else UNKNOWN_RESULT)
            for use in asked
        ]
        notes = [dump({"type": "text", "text": point.note})] if point.note else []
        async with self._engine.connect() as connection:
            cost = await _cost(connection, [row.id for row in rows])
        return Branch(
            point=point,
            blocks=(*answers, *notes),
            phases=tuple(phases),
            documents=documents,
            cost=cost,
        )

    async def begin(self, connection: AsyncConnection, branch: Branch, *, build_id: str, body: str) -> int:
        """Append a build's first message of a branch, and set phases and guide, once; gives the message."""
        parent = branch.point.head_id
        known = await self._transcript.known(
            connection, build_id=build_id, parent_id=parent, role="user", body=body
        )
        if known is not None:
            return known
        await set_progress(connection, build_id, phases=branch.phases, documents=branch.documents)
        epoch = (await self._transcript.path(parent))[-1].epoch
        return await self._transcript.append(
            connection, build_id=build_id, parent_id=parent, role="user", body=body, epoch=epoch
        )


async def find_build(connection: AsyncConnection, name: str) -> str:
    """Give the id of a build by its own id, or of the newest by its workflow id; raises the refusal."""
    query = (
        select(builds.c.id)
        .where(or_(builds.c.workflow_id == name, builds.c.id == name))
        .order_by(builds.c.started_at.desc(), builds.c.number.desc())
        .limit(1)
    )
    found = (await connection.execute(query)).scalar_one_or_none()
    if found is None:
        raise _refusal(f"build: no build {name!r} is known. Give a workflow id or a build id.")
    return found


async def hold_point(
    connection: AsyncConnection, build_id: str, turn: int, *, id_: int | None = None
) -> Point:
    """Give a build's newest restore point of a turn, or a certain one, kept until the transaction ends.

    Raises the refusal, with a list of those that there are.
    """
    newest = restore_points.c.id.desc()
    mine = restore_points.c.build_id == build_id
    query = select(*_COLUMNS).where(restore_points.c.turn == turn, _of_whole(mine))
    if id_ is not None:
        query = query.where(restore_points.c.id == id_)
    held = query.order_by(newest).limit(1).with_for_update(key_share=True, read=True)
    found = (await connection.execute(held)).one_or_none()
    if found is not None and found.head_id is not None and await hold_chain(connection, found.id):
        return Point(*found)
    raise _refusal(
        f"turn: no restore point of turn {turn} is kept. {listed(await points(connection, build_id))}"
    )


async def points(connection: AsyncConnection, build_id: str) -> list[Point]:
    """Give the restore points of a build, oldest first."""
    whole = _of_whole(restore_points.c.build_id == build_id)
    query = select(*_COLUMNS).where(whole, restore_points.c.head_id.is_not(None))
    return [Point(*row) for row in await connection.execute(query.order_by(restore_points.c.id))]


def _of_whole(which: ColumnElement[bool]) -> ColumnElement[bool]:
    return restore_points.c.id.in_(whole_points(which))


def listed(found: Sequence[Point]) -> str:
    """Say which restore points there are; of one turn, the newest is meant."""
    newest = {point.turn: point for point in found}
    lines = [newest[turn].line() for turn in sorted(newest)][-MOST_LISTED:]
    return f"Kept are: {'; '.join(lines)}." if lines else "None is kept yet."


def told_until(rows: Sequence[Row], results: Mapping[str, ToolResult]) -> tuple[list[str], dict[str, str]]:
    """Give the phases that had begun, in order, and the sections of the guide: what calls that ran said."""
    ran = {one.tool_use_id for one in results.values() if not one.is_error}
    answers = (block for row in rows if row.role == "user" for block in blocks_of(row, "tool_result"))
    ran |= {block["tool_use_id"] for block in answers if not block.get("is_error")}
    phases: dict[str, None] = {}
    documents: dict[str, str] = {}
    for call in (block for row in rows for block in _asked(row) if block["id"] in ran):
        given = call["input"]
        if call["name"] == "narrate" and given.get("phase_name"):
            phases.setdefault(str(given["phase_name"]))
        elif call["name"] == "document":
            documents[str(given["section"])] = str(given["content"])
    return list(phases), documents


def _asked(row: Row) -> list[dict[str, Any]]:
    return tool_uses(row.body) if row.role == "assistant" else []


def _undone(late: Sequence[str], results: Mapping[str, ToolResult]) -> set[str]:
    """Name those of the calls after a restore point that ended, from the first on that changed the files."""
    ended = [use for use in late if use in results]
    changing = (place for place, use in enumerate(ended) if _changed(results[use]))
    return set(ended[next(changing, len(ended)) :])


def _changed(result: ToolResult) -> bool:
    effects: dict[str, Any] = json.loads(result.effects)
    return bool(effects.get("captured") or effects.get("uncaptured"))


def _failed(tool_use_id: str, content: str) -> str:
    return dump({"type": "tool_result", "tool_use_id": tool_use_id, "content": content, "is_error": True})


async def _cost(connection: AsyncConnection, rows: Sequence[int]) -> int:
    query = select(func.coalesce(func.sum(ledger.c.cost), 0)).where(
        ledger.c.message_id.in_(rows), ledger.c.state.in_(("settled", "lost"))
    )
    return int((await connection.execute(query)).scalar_one())


def _refusal(text: str) -> ApplicationError:
    return ApplicationError(text, type=FailureType.INVALID_BUILD_REQUEST, non_retryable=True)


_COLUMNS = tuple(restore_points.c[name] for name in Point._fields)
