"""Cancelling a build, at every place where it can be: saved, nothing left running, its row closed, once."""

from datetime import timedelta

import pytest
from temporalio.worker import Worker

from tests import fakes
from tests.fakes import Gate, World, acts, call, done, refused
from tests.handles import cancelled, failure, ready, until, until_alone, until_event
from worker import bind, build_worker
from workflows.turns import Refusal

PLACES = (
    "prepare_build",
    "create_sandbox",
    "call_model",
    "run_tool",
    "record_cost",
    "pause_sandbox",
    "install_dependencies",
    "start_preview",
)


def given_out(world: World) -> set[str]:
    """The sandboxes that the build was told of."""
    return {run.sandbox.sandbox_id for run in world.tools} | set(world.paused)


@pytest.mark.parametrize("place", PLACES)
async def test_cancelled_in_the_middle_of_an_activity(bench, place):
    """Whatever was running, the build ends as cancelled, its row is closed once, no sandbox is left."""
    gate = Gate()
    world = World(replies=iter([acts(call("bash", "one")), done()]), gates={place: [gate]})
    async with bench(world) as on:
        handle = await on.start()
        await gate.reached.wait()
        await until_alone(handle)
        await handle.cancel(reason="enough")
        await until_event(handle, "activity_task_cancel_requested")
        gate.opened.set()
        await cancelled(handle)

    assert [("cancelled", "Cancelled: enough", "failed")] == [
        (one.outcome, one.message, one.status) for one in world.finished
    ]
    assert world.finished[0].build_id
    assert given_out(world) <= set(world.killed)
    assert "FAILED" == world.statuses[-1].status


async def test_cancelled_with_an_upload_in_flight(bench):
    """The files are uploaded in full before the build ends, whatever became of the upload."""
    upload, think = Gate(), Gate()
    world = World(
        replies=iter([acts(call("bash", "one")), done()]),
        gates={"take_snapshot": [upload], "call_model": [None, think]},
    )
    async with bench(world) as on:
        handle = await on.start()
        await upload.reached.wait()
        await think.reached.wait()
        await handle.cancel()
        await until_event(handle, "activity_task_cancel_requested")
        upload.opened.set()
        await cancelled(handle)
        think.opened.set()

    assert ("end", True) == (world.snapshots[-1].reason, world.snapshots[-1].full_scan)
    assert ["sbx-1"] == world.killed


async def test_cancelled_while_it_ends(bench):
    """A cancel that comes during the clean-up does not cut it short, nor change how the build ended."""
    gate = Gate()
    world = World(gates={"kill_sandbox": [gate]})
    async with bench(world) as on:
        handle = await on.start(start_signal="stop", start_signal_args=["enough"])
        await gate.reached.wait()
        await handle.cancel()
        gate.opened.set()
        ended = await failure(handle)

    assert "stopped" == ended.type
    assert ["stopped"] == [one.outcome for one in world.finished]


@pytest.mark.parametrize("place", ["kill_sandbox", "finish_build"])
async def test_cancelled_when_it_is_already_proven(bench, place):
    """A cancel that comes after the proof is too late: the build is READY, its preview stays."""
    gate = Gate()
    world = World(gates={place: [gate]})
    async with bench(world) as on:
        handle = await on.start()
        await gate.reached.wait()
        await handle.cancel()
        gate.opened.set()
        await ready(handle)

    assert ["completed"] == [one.outcome for one in world.finished]
    assert ["sbx-1"] == world.killed


async def test_cancelled_while_asleep(sleeping_bench):
    """A sleeper ends at once; it is shown as FAILED, not as asleep for ever."""
    async with sleeping_bench(world := World()) as on:
        midnight = await on.environment.get_current_time() + timedelta(days=300)
        world.replies = iter([acts(call("bash", "one")), refused(Refusal.SPENT, midnight)])
        handle = await on.start()
        with on.environment.auto_time_skipping_disabled():
            await until(handle, "SLEEPING")
            await handle.cancel()
            await cancelled(handle)
        later = await on.environment.get_current_time()

    assert later < midnight
    assert [("FAILED", None)] == [(one.status, one.wake_at) for one in world.statuses[-1:]]
    assert ["sbx-1"] == world.killed


async def test_cancel_and_result_in_one_task(shared_environment):
    """A cancel that reaches the workflow together with an activity's result is not lost in it."""
    gate = Gate()
    world = World(replies=iter([acts(call("bash", "one")), done()]), gates={"run_tool": [gate]})
    activities = [method for port, fake in fakes.PAIRS for method in bind(port, fake(world))]
    client, queue = shared_environment.client, "cancel-and-result"
    deciding = {"task_queue": queue, "max_cached_workflows": 0}
    async with Worker(client, task_queue=queue, activities=activities):
        async with build_worker(client, [], **deciding):
            handle = await client.start_workflow(
                "BuildWorkflow", {"idea": "x"}, id="cancel-and-result", task_queue=queue
            )
            await gate.reached.wait()
        gate.opened.set()
        await handle.cancel()
        async with build_worker(client, [], **deciding):
            await cancelled(handle)

    assert ["cancelled"] == [one.outcome for one in world.finished]
