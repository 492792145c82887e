"""Builds that go on from a restore point of one that has ended."""

import random
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from activities.branches import Point, points
from tests.chaos.builds import Built, insist


async def fork_of(
    origin: Built, name: str, engine: AsyncEngine, chance: random.Random
) -> dict[str, Any] | None:
    """Give what is asked to go on from one of a build's restore points; none where none is kept.

    Its name is told to the model: no two forks have the same conversation.
    """

    async def kept() -> list[Point]:
        async with engine.connect() as connection:
            return await points(connection, origin.build_id)

    turns = [point.turn for point in await insist(kept)] if origin.result is not None else []
    if not turns:
        return None
    return {"fork": {"build": origin.build_id, "turn": chance.choice(turns)}, "idea": name}
