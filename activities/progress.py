"""What a founder sees of a build beside its files: its phases and its guide. Knows Postgres only."""

from collections.abc import Mapping, Sequence

from sqlalchemy import delete, exists, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from activities.tables import documents as _documents
from activities.tables import phases as _phases
from activities.tables import tool_results
from workflows.models import BuildPlan

LONGEST_PHASE = 100
"""Characters of a phase's name that are watched; the tool that names one takes no more."""
MOST_PHASES = 20
"""Phases that are watched; the state of a build stays small."""


class Progress:
    """The tables phases and documents."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def begin_phase(self, build_id: str, name: str) -> list[str] | None:
        """Note that a phase begins and give the phases that it ends; none when it had begun before."""
        open_now = (_phases.c.build_id == build_id) & _phases.c.completed_at.is_(None)
        async with self._engine.begin() as connection:
            begun = await connection.execute(
                insert(_phases).values(build_id=build_id, name=name).on_conflict_do_nothing()
            )
            if not begun.rowcount:
                return None
            ended = select(_phases.c.name).where(open_now, _phases.c.name != name).order_by(_phases.c.id)
            names = list((await connection.execute(ended)).scalars())
            await connection.execute(
                update(_phases).where(open_now, _phases.c.name != name).values(completed_at=func.now())
            )
        return names

    async def write_document(
        self, build_id: str, *, section: str, content: str, unless_answered: tuple[int, str]
    ) -> None:
        """Write a section of the guide, over an earlier text of it.

        `unless_answered` is the call, by head and tool_use id: a late attempt at one that has its result
        writes nothing, as a later call may have written the section since.
        """
        values = {"build_id": build_id, "section": section, "content": content}
        head, tool_use_id = unless_answered
        answered = exists().where(tool_results.c.head_id == head, tool_results.c.tool_use_id == tool_use_id)
        row = insert(_documents).from_select(
            list(values), select(*map(literal, values.values())).where(~answered)
        )
        newer = row.on_conflict_do_update(
            index_elements=["build_id", "section"], set_={"content": content, "updated_at": func.now()}
        )
        async with self._engine.begin() as connection:
            await connection.execute(newer)


async def set_progress(
    connection: AsyncConnection, build_id: str, *, phases: Sequence[str], documents: Mapping[str, str]
) -> None:
    """Make these the phases that have begun, the last of them under way, and these the guide's sections."""
    await _set_phases(connection, build_id, phases)
    await connection.execute(delete(_documents).filter_by(build_id=build_id))
    for section, content in documents.items():
        row = insert(_documents).values(build_id=build_id, section=section, content=content)
        await connection.execute(row)


async def _set_phases(connection: AsyncConnection, build_id: str, begun: Sequence[str]) -> None:
    mine = _phases.c.build_id == build_id
    await connection.execute(delete(_phases).where(mine, _phases.c.name.not_in(begun)))
    for name in begun:
        row = insert(_phases).values(build_id=build_id, name=name)
        await connection.execute(row.on_conflict_do_nothing())
        ended = None if name == begun[-1] else func.coalesce(_phases.c.completed_at, func.now())
        await connection.execute(
            update(_phases).where(mine, _phases.c.name == name).values(completed_at=ended)
        )


def open_phases(plan: BuildPlan, begun: Sequence[str] = ()) -> tuple[str, ...]:
    """Give the names of the plan's first phases that have not begun."""
    names = (phase.name[:LONGEST_PHASE] for phase in plan.phases[:MOST_PHASES])
    return tuple(name for name in names if name not in begun)
