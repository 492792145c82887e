"""A build that goes on from a restore point of another one, in its project. Knows the rows.

Files and rows up to there are shared by reference; the ledger is not: what the conversation had cost is only
noted.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from activities.branches import Branch, Branches, find_build, hold_point, told_until
from activities.tables import builds
from activities.transcript import Transcript
from workflows.models import BuildRequest
from workflows.state import FOUNDER

NOTE = (
    "[fork] From here on this is a build of its own, which goes on from turn {turn} of another one. The "
    "files in the workspace and this conversation are as they were then. Background processes and everything "
    "outside the workspace are gone, and what the other build did after that turn is not here."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """A fork that is asked for, and what there is where it begins."""

    request: BuildRequest
    """With the project, and unless it names another one the model, of the build that it goes on from."""
    branch: Branch
    plan: dict[str, Any]


class Forks:
    """Finds where forks begin, and begins them."""

    def __init__(self, engine: AsyncEngine, transcript: Transcript) -> None:
        self._engine = engine
        self._transcript = transcript
        self._branches = Branches(engine, transcript)

    async def find(self, build_id: str, request: BuildRequest) -> Fork | None:
        """Give the fork that a request asks for; none where it asks for none or the build has begun.

        Raises InvalidBuildRequest, with a list of what is kept.
        """
        if request.fork is None:
            return None
        async with self._engine.begin() as connection:
            if (await connection.execute(select(builds.c.id).filter_by(id=build_id))).first():
                return None
            origin = await find_build(connection, request.fork.build)
            point = await hold_point(connection, origin, request.fork.turn)
            query = select(builds.c.model, builds.c.plan).filter_by(id=origin)
            model, plan = (await connection.execute(query)).one()
        told = {"project": point.project, "model": request.model or model}
        branch = await self._branches.at(point)
        return Fork(request=request.model_copy(update=told), branch=branch, plan=plan)

    async def begin(self, connection: AsyncConnection, fork: Fork, build_id: str) -> dict[str, Any]:
        """Write the first message of a fork; gives the columns that say where the build begins."""
        found = fork.branch.point
        point = await hold_point(connection, found.build_id, found.turn, id_=found.id)
        said = fork.request.idea.strip()
        body = fork.branch.opening(NOTE.format(turn=point.turn), f"{FOUNDER} {said}" if said else "")
        head = await self._branches.begin(connection, fork.branch, build_id=build_id, body=body)
        return {
            "plan": fork.plan,
            "head": head,
            "restore_point": point.id,
            "forked_from": point.build_id,
            "first_turn": point.turn,
            "inherited": fork.branch.cost,
        }

    async def begun(self, head: int) -> tuple[str, ...]:
        """Give the phases that had begun where a fork begins, in order."""
        rows, results = await self._transcript.whole(head)
        return tuple(told_until(rows, results)[0])
