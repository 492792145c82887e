"""What outlives a run: terminated builds are cleared by the janitor, reset ones buy nothing twice."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, ScheduleOverlapPolicy, WorkflowFailureError, WorkflowHandle

from starter.attach import TASK_QUEUE
from starter.commands import start_build
from starter.janitor_schedule import EVERY, SCHEDULE, keep_janitor
from workflows.leftovers import JanitorReport
from workflows.models import BuildResult

pytestmark = pytest.mark.usefixtures("worker")
ROW = "SELECT status, outcome, finished_at IS NULL AS is_open FROM builds WHERE id = :b"
OPEN_MONEY = "SELECT count(*) AS n FROM ledger WHERE build_id = :b AND state = 'reserved'"
SANDBOXES = "SELECT count(*) AS n FROM sandboxes WHERE build_id = :b AND state <> 'gone'"
PLACES = "SELECT count(*) AS n FROM builds WHERE id = :b AND finished_at IS NULL"


async def test_builds_terminated_in_every_state_are_cleared(everything, model_control, database):
    """No money set aside, no place taken, no sandbox left, one clear end; who still runs is left alone."""
    await _round(everything.client, "round-0")  # what other tests left
    kept = await _started(everything.client, "kept", status="paused", database=database)
    async with AsyncExitStack() as held:
        hands = Hands(everything.client, model_control, database, held)
        ended = {name: await arrange(hands, f"ended-{name}") for name, arrange in STATES.items()}
        shown = {name: await _status(database, handle) for name, handle in ended.items()}
        for handle in ended.values():
            await everything.client.get_workflow_handle(handle.id).terminate("a test")
    await until(lambda: _cleared(everything.client, database, ended.values()))
    rows = {name: await _rows(database, ROW, _id(handle)) for name, handle in ended.items()}

    assert SHOWN == shown
    assert {("failed", "terminated", False)} == {tuple(row) for each in rows.values() for row in each}
    assert set(STATES) - {"starting"} <= {name for name, each in rows.items() if each}
    assert [("paused", "", True)] == await _rows(database, ROW, _id(kept))
    assert [(1,)] == await _rows(database, SANDBOXES, _id(kept))
    await kept.terminate("a test")
    assert 1 == (await _round(everything.client, "round-last")).closed


async def test_a_workflow_id_that_is_taken_again(everything, database):
    """The terminated build is closed, the one that took its workflow id is left alone."""
    first = await _started(everything.client, "again", status="paused", database=database)
    await first.terminate("a test")
    second = await _started(everything.client, "again", status="paused", database=database)
    await _round(everything.client, "round-again")

    assert [("failed", "terminated", False)] == await _rows(database, ROW, _id(first))
    assert [("paused", "", True)] == await _rows(database, ROW, _id(second))
    await second.terminate("a test")


async def test_a_row_that_its_run_left_open_is_closed_as_the_run_ended(everything, database):
    """A run whose last step failed for good: READY keeps its preview, a failure its own reason."""
    ready = await start_build(everything.client, {"idea": "[[script:long turns=1]]"}, "left-ready")
    result = BuildResult.model_validate(await ready.result())
    stopped = await _started(everything.client, "left-stopped", signal="stop")
    with pytest.raises(WorkflowFailureError):
        await stopped.result()
    reopen = "UPDATE builds SET finished_at = NULL, status = 'checks', preview_url = '' WHERE id = :b"
    for handle in (ready, stopped):
        await _execute(database, reopen, b=_id(handle))
    report = await _round(everything.client, "round-left")

    assert 2 <= report.closed
    assert [("ready", "completed", False)] == await _rows(database, ROW, _id(ready))
    assert [("failed", "stopped", False)] == await _rows(database, ROW, _id(stopped))
    assert [(1,)] == await _rows(database, SANDBOXES, _id(ready))
    query = "SELECT preview_url FROM builds WHERE id = :b"
    assert [(result.preview_url,)] == await _rows(database, query, _id(ready))


async def test_a_build_that_its_server_has_forgotten_is_closed(everything, database):
    """Only one of this very namespace, and not a new one: another server may be running the others."""
    some = await _started(everything.client, "known", signal="stop")
    with pytest.raises(WorkflowFailureError):
        await some.result()
    copies = {}
    for name, changed in FORGOTTEN.items():
        copies[name] = str(uuid.uuid4())
        await _execute(database, COPY.format(**changed), b=_id(some), copy=copies[name])
    report = await _round(everything.client, "round-forgotten")
    is_open = {name: (await _rows(database, ROW, copy))[0][2] for name, copy in copies.items()}
    await _execute(database, "DELETE FROM builds WHERE workflow_id LIKE 'forgotten-%'")

    assert {"old": False, "young": True, "elsewhere": True, "before": True} == is_open
    assert 3 == report.unknown


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


@dataclass
class Hands:
    """What brings a build into a state and keeps it there."""

    client: Client
    control: Any
    database: AsyncEngine
    held: AsyncExitStack

    async def reached(self, name: str, status: str, **request: Any) -> WorkflowHandle:
        """Start a build and wait until its row shows a status."""
        return await _started(self.client, name, status=status, database=self.database, **request)

    async def lock(self, statement: str, **values: Any) -> None:
        """Let whoever needs what the statement locks wait."""
        connection = await self.held.enter_async_context(self.database.connect())
        await connection.execute(text(statement), values)


async def _starting(on: Hands, name: str) -> WorkflowHandle:
    await _execute(on.database, "INSERT INTO users (id, tier) VALUES (:u, 'bootstrapper')", u=name)
    await on.lock("SELECT 1 FROM users WHERE id = :u FOR UPDATE", u=name)
    return await _busy(on, name, "prepare_build")


async def _in_scaffold(on: Hands, name: str) -> WorkflowHandle:
    await on.lock("LOCK TABLE sandboxes IN EXCLUSIVE MODE")
    return await _busy(on, name, "create_sandbox")


async def _busy(on: Hands, name: str, activity: str) -> WorkflowHandle:
    handle = await _started(on.client, name, signal="wake")

    async def runs() -> bool:
        pending = (await handle.describe()).raw_description.pending_activities
        return [(activity, PendingActivityState.PENDING_ACTIVITY_STATE_STARTED)] == [
            (p.activity_type.name, p.state) for p in pending
        ]

    await until(runs)
    return handle


async def _thinking(on: Hands, name: str) -> WorkflowHandle:
    await on.control.post("/_control/hold", json={"after_events": 3, "after": 1})
    handle = await on.reached(name, "code", idea="[[script:long turns=3]]", signal="wake")
    await until(lambda: _is_held(on.control))
    return handle


async def _acting(on: Hands, name: str) -> WorkflowHandle:
    handle = await on.reached(name, "code", idea="[[script:long turns=3 sleep=4710]]", signal="wake")
    await until(lambda: _any(on.database, STARTS, _id(handle)))
    return handle


async def _sleeping(on: Hands, name: str) -> WorkflowHandle:
    await _execute(on.database, "INSERT INTO users (id, tier) VALUES (:u, 'bootstrapper')", u=name)
    today = datetime.now(UTC).date()
    await _execute(
        on.database, "INSERT INTO days (user_id, day, allowance) VALUES (:u, :d, 1)", u=name, d=today
    )
    return await on.reached(name, "sleeping", signal="wake")


async def _paused_in_a_later_run(on: Hands, name: str) -> WorkflowHandle:
    started = await _started(on.client, name, signal="wake", idea="[[script:long turns=30]]", turns_per_run=1)
    newest = on.client.get_workflow_handle(name, first_execution_run_id=_id(started))

    async def is_later() -> bool:
        return (await newest.describe()).run_id != _id(started)

    await until(is_later)
    await newest.signal("pause")
    await _until_status(on.database, newest, "paused")
    return newest


async def _asking(on: Hands, name: str) -> WorkflowHandle:
    await on.control.post("/_control/faults", json=[{"kind": "revoked_key"}])
    return await on.reached(name, "waiting_for_you", signal="wake")


async def _parked(on: Hands, name: str) -> WorkflowHandle:
    handle = await on.reached(name, "paused")
    await _execute(on.database, SWITCH, off=False)
    try:
        await handle.signal("resume")
        await _until_status(on.database, handle, "switched_off")
    finally:
        await _execute(on.database, SWITCH, off=True)
    return handle


async def _in_checks(on: Hands, name: str) -> WorkflowHandle:
    return await on.reached(
        name, "checks", signal="wake", idea="[[script:idle]]", build_plan={"checks": ["sleep 4711"]}
    )


STATES: dict[str, Callable[[Hands, str], Awaitable[WorkflowHandle]]] = {
    "paused": _paused_in_a_later_run,
    "asking": _asking,
    "sleeping": _sleeping,
    "parked": _parked,
    "acting": _acting,
    "checks": _in_checks,
    "starting": _starting,
    "thinking": _thinking,
    "scaffold": _in_scaffold,
}
"""In an order in which none keeps the next from its state."""
SHOWN = {
    "paused": ["paused"],
    "asking": ["waiting_for_you"],
    "sleeping": ["sleeping"],
    "parked": ["switched_off"],
    "acting": ["code"],
    "checks": ["checks"],
    "starting": [],
    "thinking": ["code"],
    "scaffold": ["scaffold"],
}
"""What their rows say, where there is one."""
STARTS = "SELECT 1 FROM tool_starts s JOIN transcript t ON t.id = s.head_id WHERE t.build_id = :b"
SWITCH = (
    "INSERT INTO switches (name, \"on\") VALUES ('autonomous_agent', :off) "
    'ON CONFLICT (name) DO UPDATE SET "on" = :off'
)
COPY = """
    INSERT INTO builds
        (id, workflow_id, project, user_id, number, model, head, status, namespace_id, started_at)
    SELECT :copy, 'forgotten-{name}', project, user_id, 900 + {number}, model, head, 'sleeping',
           {namespace}, now() - interval '{age}' FROM builds WHERE id = :b
"""
FORGOTTEN = {
    "old": {"name": "old", "number": 1, "namespace": "namespace_id", "age": "2 hours"},
    "young": {"name": "young", "number": 2, "namespace": "namespace_id", "age": "1 minute"},
    "elsewhere": {"name": "elsewhere", "number": 3, "namespace": "'another'", "age": "2 hours"},
    "before": {"name": "before", "number": 4, "namespace": "''", "age": "2 hours"},
}


async def _started(
    client: Client,
    name: str,
    *,
    signal: str = "pause",
    status: str = "",
    database: Any = None,
    **request: Any,
) -> WorkflowHandle:
    """Start a build of a user of its own with a signal, and wait until its row shows a status."""
    given = {"idea": "x", "project": f"{name}-{uuid.uuid4().hex[:6]}", "user": name} | request
    handle = await client.start_workflow(
        "BuildWorkflow", given, id=name, task_queue=TASK_QUEUE, start_signal=signal
    )
    if status:
        await _until_status(database, handle, status)
    return handle


async def _until_status(engine: AsyncEngine, handle: WorkflowHandle, status: str) -> None:
    async def is_so() -> bool:
        return await _status(engine, handle) == [status]

    await until(is_so)


async def _status(engine: AsyncEngine, handle: WorkflowHandle) -> list[str]:
    return [row[0] for row in await _rows(engine, ROW, _id(handle))]


async def _cleared(client: Client, engine: AsyncEngine, ended: Collection[WorkflowHandle]) -> bool:
    """After one more round, whether nothing of these builds is left; a step of one may have ended late."""
    await _round(client, f"round-{uuid.uuid4().hex[:6]}")
    questions = [(query, _id(handle)) for handle in ended for query in (OPEN_MONEY, SANDBOXES, PLACES)]
    return not any([(await _row(engine, *each)).n for each in questions])


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


async def _rows(engine: AsyncEngine, query: str, build_id: str) -> list[tuple[Any, ...]]:
    async with engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(text(query), {"b": build_id})]


async def _any(engine: AsyncEngine, query: str, build_id: str) -> bool:
    return bool(await _rows(engine, query, build_id))


async def _execute(engine: AsyncEngine, statement: str, **values: Any) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(statement), values)


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition outside this process holds."""
    async with asyncio.timeout(60):
        while not await is_so():
            await asyncio.sleep(0.05)
