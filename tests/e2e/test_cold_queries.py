"""A query that waited for a dead worker, with real processes and the SDK's own core."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from temporalio import activity
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, Worker

from starter.attach import ROOT
from starter.cold_queries import AHEAD
from tests.e2e.queried_worker import ACTIVITIES, Queried

QUEUE = "queried"
TRIES = 4
"""The order of events that it takes may be missed on a machine with much to do."""


async def test_a_run_goes_on_after_a_query_that_a_dead_worker_left(everything):
    """The worker that answers it sees an event before its task; what the run then does can be replayed.

    A task of the run is failed for it. Where none is any more, the SDK's core was mended at an upgrade, and
    `starter/cold_queries.py` may go.
    """
    failures: list[str] = []
    while AHEAD not in failures and len(failures) < TRIES:
        history = await _queried_past_a_death(everything, f"queried-{len(failures)}")
        await Replayer(workflows=[Queried]).replay_workflow(history)
        failures.append(_why_a_task_failed(history))

    assert AHEAD in failures


async def _queried_past_a_death(everything, name: str) -> WorkflowHistory:
    """A run whose worker was killed, which was queried before an activity ended, and told something after."""
    gate = asyncio.Event()
    async with _activities(everything.client, gate), _worker(everything) as dying:
        handle = await everything.client.start_workflow("Queried", id=name, task_queue=QUEUE)
        assert not await handle.query("is_paused")
        async with _worker(everything):
            dying.kill()
            query = asyncio.create_task(handle.query("is_paused"))
            await asyncio.sleep(0.5)  # nobody tells when a query has begun to wait
            gate.set()
            assert not await query
            await handle.signal("pause")
            async with asyncio.timeout(30):
                await handle.result()
        return await handle.fetch_history()


def _why_a_task_failed(history: WorkflowHistory) -> str:
    """The words of the first workflow task that failed, or none."""
    failed = [event.workflow_task_failed_event_attributes.failure.message for event in history.events]
    return next(filter(None, failed), "")


@asynccontextmanager
async def _activities(client, gate: asyncio.Event) -> AsyncIterator[None]:
    """A worker that lives, with activities of which the first waits for the gate."""

    @activity.defn
    async def first() -> None:
        await gate.wait()

    @activity.defn
    async def second() -> None: ...

    @activity.defn
    async def paused() -> None: ...

    async with Worker(client, task_queue=ACTIVITIES, activities=[first, second, paused]):
        yield


@asynccontextmanager
async def _worker(everything) -> AsyncIterator[Process]:
    """A worker process that works on the run."""
    words = [sys.executable, "-m", "tests.e2e.queried_worker", QUEUE]
    environment = {**os.environ, **everything.environment}
    process = await asyncio.create_subprocess_exec(*words, cwd=ROOT, env=environment, stdout=PIPE)
    try:
        assert process.stdout
        assert await process.stdout.readline()
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
