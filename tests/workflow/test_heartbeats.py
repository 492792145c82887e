"""How long a lost worker goes unnoticed: what a worker's settings say of it reaches each activity."""

import asyncio
import uuid
from datetime import timedelta

from temporalio.worker import Worker

from activities.settings import Settings
from tests import fakes
from tests.handles import ready, until
from tests.histories import heartbeat_timeouts, replay
from worker import STICKY, bind, build_worker

SHORT = Settings.from_env({"HEARTBEAT_TIMEOUT_SECONDS": "2"}).heartbeat_timeout


def sticky(worker: Worker) -> timedelta:
    """How long a step of the workflow waits for the worker that knows it."""
    return worker.config()["sticky_queue_schedule_to_start_timeout"]


async def test_workers_that_are_set_otherwise_take_turns_with_a_run(shared_environment):
    """Begun under the default, a build goes on under a shorter time, by replay, and begins nothing anew."""
    activities = [method for port, fake in fakes.PAIRS for method in bind(port, fake(fakes.World()))]
    client, queue = shared_environment.client, str(uuid.uuid4())
    replaying = {"task_queue": queue, "max_cached_workflows": 0}
    async with build_worker(client, activities, **replaying) as first:
        handle = await client.start_workflow(
            "BuildWorkflow", {"idea": "x"}, id=queue, task_queue=queue, start_signal="pause"
        )
        await until(handle, "PAUSED")
    before = heartbeat_timeouts(await handle.fetch_history())
    async with build_worker(client, activities, heartbeat_timeout=SHORT, **replaying) as second:
        await handle.signal("resume")
        await ready(handle)
    history = await handle.fetch_history()
    after = heartbeat_timeouts(history)[len(before) :]

    assert {timedelta(seconds=3.5)} == set(before)
    assert {timedelta(seconds=2)} == set(after)
    assert (STICKY, SHORT) == (sticky(first), sticky(second))
    await asyncio.gather(replay(history), replay(history, heartbeat_timeout=SHORT))
