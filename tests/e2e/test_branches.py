"""Rewind and fork on real parts: files and conversation of one moment, and each line of work done once."""

import asyncio
import json
import uuid

import pytest
from sqlalchemy import text

from tests.handles import ready, until
from workflows.models import BuildStatus

TURNS = 9
NOTES = [f"step {n}" for n in range(2, TURNS)]


async def start(everything, *, turns: int = TURNS, name: str = ""):
    """A build that appends a line to a file in each turn, and prints the file at its end."""
    name = name or f"branch-{uuid.uuid4().hex[:8]}"
    request = {"idea": f"[[script:sleeper turns={turns}]]", "project": name}
    return await everything.client.start_workflow("BuildWorkflow", request, id=name, task_queue="builds")


async def noted(database, workflow_id: str) -> list[str]:
    """The file that a build printed at its end."""
    query = text(
        "SELECT r.body FROM tool_results r JOIN transcript t ON t.id = r.head_id "
        "JOIN builds b ON b.id = t.build_id WHERE b.workflow_id = :w ORDER BY r.id DESC LIMIT 1"
    )
    async with database.connect() as connection:
        body = (await connection.execute(query, {"w": workflow_id})).scalar_one()
    content = json.loads(body)["content"]
    return [line for line in str(content).splitlines() if line.startswith("step ")]


async def sent(model_control) -> list[dict]:
    return (await model_control.get("/_control/requests?last=1000")).json()["requests"]


@pytest.mark.usefixtures("worker")
async def test_a_fork_has_the_files_and_the_conversation_of_its_turn(everything, database, model_control):
    """Listed, forked by the command line, it does the rest of the work once, with a budget of its own."""
    origin = await start(everything)
    await ready(origin)
    before = await sent(model_control)
    status, shown = await everything.starter("fork", origin.id)
    _, refused = await everything.starter("rewind", origin.id, "--turn", "77", "--watch")
    name = f"fork-{uuid.uuid4().hex[:8]}"
    words = ("--turn", "4", "--budget", "2.5", "--id", name)
    forked, said = await everything.starter("fork", origin.id, *words)
    made = await ready(everything.client.get_workflow_handle(name))
    first = (await sent(model_control))[len(before)]
    _, receipt = await everything.starter("receipt", name, "--json")
    told = json.loads(receipt.splitlines()[0])

    assert (0, 0) == (status, forked)
    assert "turn 4, 20" in shown
    assert "temporal workflow start" in said
    earlier, later = before[3]["digests"], first["digests"]
    assert (earlier["tools"], earlier["system"]) == (later["tools"], later["system"])
    assert earlier["messages"] == later["messages"][: len(earlier["messages"])]
    assert NOTES == await noted(database, origin.id) == await noted(database, name)
    assert "build_v0_2" == made.build_version
    assert 2_500_000 == told["budget_microdollars"]
    assert min(told["spent_microdollars"], told["inherited_microdollars"]) > 0
    assert "Kept are: turn 1" in refused


@pytest.mark.usefixtures("worker")
async def test_a_running_build_goes_back_and_does_the_rest_once(everything, database):
    """By Temporal's own command line, while it runs; what it did after that turn is undone, in files too."""
    handle = await start(everything, turns=25)
    while (await handle.query("status", result_type=BuildStatus)).turns < 7:
        await asyncio.sleep(0.05)
    words = ("workflow", "update", "execute", "--workflow-id", handle.id, "--name", "rewind")
    wrong, why = await everything.temporal(*words, "--input", '{"turn": 700}')
    back, shown = await everything.temporal(*words, "--input", '{"turn": 4}')
    await handle.signal("pause")
    await until(handle, "PAUSED")
    paused = await everything.starter("rewind", handle.id, "--turn", "3")
    await handle.signal("resume")
    result = await ready(handle)
    status = await handle.query("status", result_type=BuildStatus)

    assert (0, 0) == (back, paused[0]), (shown, paused)
    assert 0 != wrong
    assert "Kept are: turn 1" in why
    assert [f"step {n}" for n in range(2, 25)] == await noted(database, handle.id)
    assert result.turns < status.tool_calls
    assert result.spent_microdollars == status.spent_microdollars > 0


@pytest.mark.usefixtures("worker")
async def test_a_build_id_takes_back_no_other_build(everything, database):
    """One that ended is forked, also where a newer build runs under its workflow id."""
    origin = await start(everything, turns=4)
    await ready(origin)
    newer = await start(everything, turns=25, name=origin.id)
    while (await newer.query("status", result_type=BuildStatus)).turns < 3:
        await asyncio.sleep(0.05)
    await newer.signal("pause")
    await until(newer, "PAUSED")
    name = f"fork-{uuid.uuid4().hex[:8]}"
    words = ("--turn", "2", "--id", name)
    status, said = await everything.starter("rewind", origin.first_execution_run_id, *words)
    query = text("SELECT forked_from FROM builds WHERE workflow_id = :w")
    await ready(everything.client.get_workflow_handle(name))
    async with database.connect() as connection:
        forked_from = (await connection.execute(query, {"w": name})).scalar_one()
    entries = await newer.query("timeline")
    await newer.signal("stop", "seen")

    assert 0 == status, said
    assert "has ended, so a new build goes on" in said
    assert origin.first_execution_run_id == forked_from
    assert not [entry for entry in entries if "back" in entry["text"]]
