"""The ends of a build when something fails for good: always typed, always closed, never twice, never hung."""

import pytest

from tests.fakes import Gate, World, acts, bug, call, done, passing
from tests.handles import failure, ready, until_event
from tests.histories import activity_names


@pytest.mark.parametrize("step", ["take_snapshot", "kill_sandbox", "record_status", "finish_build"])
async def test_step_of_the_clean_up_that_fails_for_good(bench, step):
    """The build still ends under the name of what ended it, and the other steps are still carried out."""
    gate = Gate()
    world = World(gates={"call_model": [gate]})
    async with bench(world) as on:
        handle = await on.start()
        await gate.reached.wait()
        world.faults[step] = [bug("no disk")] * 9
        await handle.signal("stop", "enough")
        ended = await failure(handle)

    assert "stopped" == ended.type
    assert ended.message.startswith("Stopped: enough")
    assert [1, 1] == [world.attempts.count(each) for each in ("kill_sandbox", "finish_build")]


@pytest.mark.parametrize("step", ["kill_sandbox", "record_status", "finish_build"])
async def test_proven_build_is_ready_whatever_fails_after_the_proof(bench, step):
    """What was proven stands; what could not be written down is said."""
    gate = Gate()
    world = World(gates={"start_preview": [gate]})
    async with bench(world) as on:
        handle = await on.start()
        await gate.reached.wait()
        world.faults[step] = [bug("no disk")] * 9
        gate.opened.set()
        result = await ready(handle)

    assert "completed" == result.outcome
    assert ("no disk" in result.message) == (step != "kill_sandbox")


@pytest.mark.parametrize(
    "step", ["create_sandbox", "call_model", "run_tool", "take_snapshot", "pause_sandbox", "run_checks"]
)
async def test_activity_that_fails_for_good_ends_the_build(bench, step):
    """A bug of ours is named as such, with a sentence; the row is closed once."""
    world = World(
        replies=iter([acts(call("bash", "one")), done()]), faults={step: [bug("no such table")] * 9}
    )
    async with bench(world) as on:
        ended = await failure(await on.start())

    assert ("api_error", True) == (ended.type, f"{step} failed: no such table" in ended.message)
    assert ["api_error"] == [one.outcome for one in world.finished]


async def test_row_is_closed_when_the_first_step_after_it_fails(bench):
    """Once a row was written it is closed, also when not even the first status could be shown."""
    world = World(faults={"record_status": [bug()]})
    async with bench(world) as on:
        ended = await failure(await on.start())

    assert "api_error" == ended.type
    assert ["api_error"] == [one.outcome for one in world.finished]


async def test_nothing_runs_on_while_a_build_ends(bench):
    """When one of two things side by side fails, the other is awaited first: nothing follows the end."""
    gate = Gate()
    calls = [call("bash", "one"), call("bash", "two")]
    world = World(
        replies=iter([acts(*calls)]), gates={"run_tool": [gate]}, faults={"record_cost": [bug("no row")]}
    )
    async with bench(world) as on:
        handle = await on.start()
        await gate.reached.wait()
        await until_event(handle, "activity_task_failed")
        await handle.query("status")  # is answered once that failure was taken in
        gate.opened.set()
        await failure(handle)
        names = await activity_names(handle)

    assert ["run_tool", "run_tool", "take_snapshot"] == names[names.index("run_tool") :][:3]
    assert "finish_build" == names[-1]


async def test_attempts_that_fail_in_passing_are_not_seen(bench):
    """A retried activity leaves no trace in how the build ends."""
    steps = ("prepare_build", "create_sandbox", "call_model", "run_tool", "take_snapshot", "finish_build")
    world = World(replies=iter([acts(call("bash", "one")), done()]))
    async with bench(world) as on:
        world.faults = {step: [passing()] for step in steps}
        await ready(await on.start())

    assert [2] * 3 == [world.attempts.count(step) for step in ("prepare_build", "run_tool", "finish_build")]
