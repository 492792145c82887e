"""What a founder sees of a build beside its files: its phases and its guide. Knows Postgres only."""

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from activities.tables import documents, phases


class Progress:
    """The tables phases and documents."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def begin_phase(self, build_id: str, name: str) -> list[str] | None:
        """Note that a phase begins and give the phases that it ends; none when it had begun before."""
        open_now = (phases.c.build_id == build_id) & phases.c.completed_at.is_(None)
        async with self._engine.begin() as connection:
            begun = await connection.execute(
                insert(phases).values(build_id=build_id, name=name).on_conflict_do_nothing()
            )
            if not begun.rowcount:
                return None
            ended = select(phases.c.name).where(open_now, phases.c.name != name).order_by(phases.c.id)
            names = list((await connection.execute(ended)).scalars())
            await connection.execute(
                update(phases).where(open_now, phases.c.name != name).values(completed_at=func.now())
            )
        return names

    async def write_document(self, build_id: str, *, section: str, content: str) -> None:
        """Write a section of the guide, over an earlier text of it."""
        row = insert(documents).values(build_id=build_id, section=section, content=content)
        newer = row.on_conflict_do_update(
            index_elements=["build_id", "section"], set_={"content": content, "updated_at": func.now()}
        )
        async with self._engine.begin() as connection:
            await connection.execute(newer)
