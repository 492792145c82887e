"""What outlives a run: terminated builds are cleared by the janitor, reset ones buy nothing twice."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, ScheduleOverlapPolicy, WorkflowHandle

from starter.attach import TASK_QUEUE
from starter.commands import start_build
from starter.janitor_schedule import EVERY, SCHEDULE, keep_janitor
from workflows.leftovers import JanitorReport
from workflows.models import BuildResult

pytestmark = pytest.mark.usefixtures("worker")
ROW = "SELECT status, outcome, finished_at IS NULL AS is_open FROM builds WHERE id = :b"
OPEN_MONEY = "SELECT count(*) AS n FROM ledger WHERE build_id = :b AND state = 'reserved'"
SANDBOXES = "SELECT count(*) AS n FROM sandboxes WHERE build_id = :b AND state <> 'gone'"


async def test_terminated_builds_are_cleared_and_running_ones_left_alone(everything, model_control, database):
    """In mid-stream or paused in a later run: its money is lost, its row closed, its sandbox killed."""
    await _round(everything.client, "round-0")  # what other tests left
    paused = await _paused_in_a_later_run(everything.client, database)
    streaming = await _streaming(everything.client, model_control)
    await streaming.terminate("a test")
    first = await _round(everything.client, "round-1")
    left = await _row(database, ROW, _id(paused))
    kept = await _row(database, SANDBOXES, _id(paused))
    await paused.terminate("a test")
    second = await _round(everything.client, "round-2")

    assert ("paused", True, 1) == (left.status, left.is_open, kept.n)
    for handle in (streaming, paused):
        row = await _row(database, ROW, _id(handle))
        assert ("failed", "terminated", False) == (row.status, row.outcome, row.is_open)
        assert 0 == (await _row(database, OPEN_MONEY, _id(handle))).n
        assert 0 == (await _row(database, SANDBOXES, _id(handle))).n
    assert [1, 1] == [first.closed, second.closed]
    assert 0 == (await _round(everything.client, "round-3")).closed


async def test_a_reset_build_buys_nothing_twice(everything, model_control, database):
    """Reset to its very beginning in its third turn, it finds its row and its replies again."""
    await model_control.post("/_control/hold", json={"after_events": 3, "after": 2})
    request = {"idea": "[[script:long turns=3]]", "project": "reset"}
    handle = await start_build(everything.client, request, "reset")
    await until(lambda: _is_held(model_control))
    before = await _row(database, _SETTLED, _id(handle))
    await everything.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=everything.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=handle.id, run_id=_id(handle)),
            reason="a test",
            workflow_task_finish_event_id=4,
            request_id="reset",
        )
    )
    await model_control.post("/_control/release", json={})
    newest = everything.client.get_workflow_handle("reset")
    result = BuildResult.model_validate(await newest.result())
    after = await _row(database, _SETTLED, _id(handle))
    rows = await _row(database, "SELECT count(*) AS n FROM builds WHERE project = 'reset'", "")

    assert ("READY", 1) == (result.status, rows.n)
    assert 2 == before.n
    assert result.turns == after.n


async def test_the_schedule_is_set_once_and_stays_paused(everything):
    """Each worker sets the same one; a person's pause of it holds."""
    schedule = everything.client.get_schedule_handle(SCHEDULE)
    await schedule.pause(note="a test")
    try:
        await keep_janitor(everything.client)
        found = (await schedule.describe()).schedule
    finally:
        await schedule.unpause()

    assert found.state.paused
    assert ScheduleOverlapPolicy.SKIP == found.policy.overlap
    assert [EVERY] == [each.every for each in found.spec.intervals]


_SETTLED = "SELECT count(*) AS n FROM ledger WHERE build_id = :b AND state = 'settled'"


async def _streaming(client: Client, control: Any) -> WorkflowHandle:
    await control.post("/_control/hold", json={"after_events": 3, "after": 1})
    handle = await start_build(client, {"idea": "[[script:long turns=3]]", "project": "ended-1"}, "ended-1")
    await until(lambda: _is_held(control))
    return handle


async def _paused_in_a_later_run(client: Client, engine: AsyncEngine) -> WorkflowHandle:
    request = {"idea": "[[script:long turns=30]]", "project": "ended-2", "turns_per_run": 1}
    started = await start_build(client, request, "ended-2")
    newest = client.get_workflow_handle("ended-2", first_execution_run_id=_id(started))

    async def is_later() -> bool:
        return (await newest.describe()).run_id != _id(started)

    async def is_paused() -> bool:
        return (await _row(engine, ROW, _id(started))).status == "paused"

    await until(is_later)
    await newest.signal("pause")
    await until(is_paused)
    return newest


def _id(handle: WorkflowHandle) -> str:
    assert handle.first_execution_run_id
    return handle.first_execution_run_id


async def _round(client: Client, name: str) -> JanitorReport:
    done = await client.execute_workflow("JanitorWorkflow", id=name, task_queue=TASK_QUEUE)
    return JanitorReport.model_validate(done)


async def _is_held(control: Any) -> bool:
    return (await control.get("/_control/hold")).json()["waiting"] == 1


async def _row(engine: AsyncEngine, query: str, build_id: str) -> Any:
    async with engine.connect() as connection:
        return (await connection.execute(text(query), {"b": build_id})).one()


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition outside this process holds."""
    async with asyncio.timeout(60):
        while not await is_so():
            await asyncio.sleep(0.05)
