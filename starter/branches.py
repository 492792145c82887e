"""Going back: a running build to one of its restore points, or a new build that goes on from one."""

import json
from argparse import Namespace
from collections.abc import Mapping
from typing import NamedTuple

from pydantic import JsonValue
from rich.console import Console
from sqlalchemy import or_, select
from temporalio.client import Client

from activities.branches import Point, points
from activities.tables import builds
from starter.amounts import microdollars_of
from starter.attach import TASK_QUEUE, attach
from starter.changes import BuildEnded, change_build, say_update
from starter.commands import follow, say_command, start_build
from starter.requests import UnusableRequest, workflow_id_for
from starter.rows import open_rows


class Origin(NamedTuple):
    """The build that is gone back in."""

    id: str
    workflow_id: str
    user_id: str
    project: str


async def rewind(given: Namespace, console: Console) -> int:
    """Take a running build back; one that has ended goes on as a fork of the same project.

    Its row, its receipt and the version that it made stay what they were: nothing is undone that was handed
    over, and a closed run takes no update.
    """
    client, environment = await attach()
    origin = await _origin(given, environment, console)
    if given.turn is None:
        return 0
    asked: dict[str, JsonValue] = {"turn": given.turn}
    try:
        await change_build(client, origin.workflow_id, "rewind", asked, build_id=origin.id)
    except BuildEnded:
        console.print(f"{given.id} has ended, so a new build goes on from its turn {given.turn}")
        return await _fork(given, origin, client, environment, console)
    console.print(f"{origin.workflow_id} goes back to turn {given.turn}", style="bold")
    say_update(console, origin.workflow_id, "rewind", asked)
    return 0


async def fork(given: Namespace, console: Console) -> int:
    """Start a build that goes on from a restore point of another one, with money of its own."""
    client, environment = await attach()
    origin = await _origin(given, environment, console)
    return await _fork(given, origin, client, environment, console) if given.turn is not None else 0


async def _origin(given: Namespace, environment: Mapping[str, str], console: Console) -> Origin:
    """Find the build; without a turn, show which there are. Raises UnusableRequest."""
    columns = [builds.c[name] for name in Origin._fields]
    query = select(*columns).where(or_(builds.c.workflow_id == given.id, builds.c.id == given.id))
    async with open_rows(environment) as engine, engine.connect() as connection:
        newest = query.order_by(builds.c.started_at.desc(), builds.c.number.desc()).limit(1)
        if (found := (await connection.execute(newest)).one_or_none()) is None:
            raise UnusableRequest(f"No build {given.id!r} is known: give a workflow id or a build id.")
        origin = Origin(*found)
        if given.turn is None:
            _show(await points(connection, origin.id), console)
        return origin


def _show(found: list[Point], console: Console) -> None:
    newest = {point.turn: point for point in found}
    if not newest:
        console.print("no restore point is kept yet")
    for turn in sorted(newest):
        console.print(newest[turn].line(), markup=False, soft_wrap=True)


async def _fork(
    given: Namespace, origin: Origin, client: Client, environment: Mapping[str, str], console: Console
) -> int:
    request: dict[str, JsonValue] = {
        "fork": {"build": origin.id, "turn": given.turn},
        "user": origin.user_id,
    }
    if given.budget:
        request["budget_microdollars"] = microdollars_of(given.budget)
    told = {"idea": given.say, "model": given.model}
    request |= {name: value for name, value in told.items() if value}
    workflow_id = given.new_id or workflow_id_for({"project": f"{origin.project}-fork"})
    handle = await start_build(client, request, workflow_id)
    console.print(f"started {workflow_id}", style="bold")
    say_command(
        console, "workflow", "start", "--type", "BuildWorkflow", "--task-queue", TASK_QUEUE,
        "--workflow-id", workflow_id, "--input", json.dumps(request, ensure_ascii=False),
    )  # fmt: skip
    return await follow(handle, environment, console) if given.watch else 0
