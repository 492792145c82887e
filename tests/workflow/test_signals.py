"""What people say to a build, at any moment and in any shape: heard, refused with a word, never a hang."""

from datetime import timedelta

import pytest
from temporalio.client import WorkflowUpdateFailedError

from tests.fakes import Gate, World, acts, call, done, refused
from tests.handles import failure, ready, until, until_event
from workflows import guard
from workflows.models import BuildStatus, SetLimit, TimelineEntry
from workflows.proof import UNPROVEN
from workflows.steering import MAX_UNHEARD_CHARS
from workflows.turns import Refusal


def founder(world: World) -> list[list[str]]:
    """What the model read of the founder, call by call."""
    return [[note for note in one.notes if note.startswith("[founder]")] for one in world.asked]


async def test_signals_of_any_shape_never_hang_a_build(bench):
    """A missing, extra or mistyped argument is passed over; the build goes on."""
    async with bench(world := World()) as on:
        handle = await on.start(start_signal="pause", start_signal_args=[{"now": True}])
        await until(handle, "PAUSED")
        for args in ([], [5], [None], [{"text": "x"}], ["red\x00", "and more"]):
            await handle.signal("steer", args=args)
        await handle.signal("wake", args=[{}, 1])
        await handle.signal("unheard of", "x")
        await handle.signal("resume", args=["please"])
        await ready(handle)

    assert [["[founder] red\N{REPLACEMENT CHARACTER}"]] == founder(world)


@pytest.mark.parametrize("args", [[], [None], [7, "x\x00" * 900]])
async def test_stop_of_any_shape_stops(bench, args):
    """A stop needs no reason; one that is given is kept short and storable."""
    async with bench(World()) as on:
        ended = await failure(await on.start(start_signal="stop", start_signal_args=args))

    assert "stopped" == ended.type
    assert len(ended.message) < 600
    assert "\x00" not in ended.message


async def test_updates_that_do_not_decode_are_refused(bench):
    """Whoever asked is told, and the build is as it was."""
    async with bench(World()) as on:
        handle = await on.start(start_signal="pause")
        await until(handle, "PAUSED")
        for args in ([], ["x"], [{"max_tool_calls": "many"}], [{"max_tool_calls": 10**12}], [{}, {}]):
            with pytest.raises(WorkflowUpdateFailedError):
                await handle.execute_update("set_limit", args=args)
        status = await handle.query("status", result_type=BuildStatus)
        await handle.signal("resume")
        await ready(handle)

    assert 150 == status.max_tool_calls


async def test_everything_works_before_the_build_is_prepared(bench):
    """Queries answer, and what was set or said before the first step holds."""
    gate = Gate()
    world = World(gates={"prepare_build": [gate]})
    async with bench(world) as on:
        handle = await on.start()
        await gate.reached.wait()
        await handle.signal("steer", "use blue")
        await handle.execute_update("set_limit", SetLimit(max_tool_calls=9), result_type=BuildStatus)
        status = await handle.query("status", result_type=BuildStatus)
        await handle.query("timeline", result_type=list[TimelineEntry])
        gate.opened.set()
        await ready(handle)
        later = await handle.query("status", result_type=BuildStatus)

    assert ("STARTING", 9, 9) == (status.status, status.max_tool_calls, later.max_tool_calls)
    assert [["[founder] use blue"]] == founder(world)


async def test_word_of_the_founder_cuts_a_running_call_of_the_model_short(bench):
    """A steer reaches the model while it thinks: that reply is given up, and the next call has read it."""
    gate = Gate()
    world = World(gates={"call_model": [gate]})
    async with bench(world) as on:
        handle = await on.start()
        await gate.reached.wait()
        await handle.signal("steer", "use blue")
        result = await ready(handle)

    assert [["[founder] use blue"]] == founder(world)
    assert 2 == world.attempts.count("call_model")
    assert 1 == result.turns


async def test_a_reply_that_came_all_the_same_is_kept(bench):
    """A reply that was whole before the cancel arrived is paid for and used; the founder is heard next."""
    gate = Gate(deaf=True)
    world = World(replies=iter([done("first"), done("second")]), gates={"call_model": [gate]})
    async with bench(world) as on:
        handle = await on.start()
        await gate.reached.wait()
        await handle.signal("steer", "use blue")
        await until_event(handle, "activity_task_cancel_requested")
        gate.opened.set()
        await ready(handle)

    assert [[], ["[founder] use blue"]] == founder(world)
    assert 1 == world.attempts.count("run_checks")


async def test_word_of_the_founder_cuts_running_calls_short(bench):
    """The running command is ended, those after it never begin, each has its one result; then it is heard."""
    gate = Gate()
    world = World(gates={"run_tool": [gate]})
    world.replies = iter([acts(call("bash", "one"), call("bash", "two")), done()])
    async with bench(world) as on:
        handle = await on.start()
        await gate.reached.wait()
        await handle.signal("steer", "use blue")
        result = await ready(handle)

    refused = [(run.call.label, run.refuse) for run in world.tools]
    assert [("one", guard.CUT_SHORT), ("two", guard.INTERRUPTED)] == refused
    assert [[], ["[founder] use blue"]] == founder(world)
    assert 2 == result.tool_calls


async def test_stop_cuts_a_running_command_short(bench):
    """A stop does not wait for a long command: its result is written, the files saved, the build ended."""
    gate = Gate()
    world = World(gates={"run_tool": [gate]}, replies=iter([acts(call("bash", "one"))]))
    async with bench(world) as on:
        handle = await on.start()
        await gate.reached.wait()
        await handle.signal("stop", "enough")
        ended = await failure(handle)

    assert ("stopped", "Stopped: enough") == (ended.type, ended.message)
    assert [guard.CUT_SHORT] == [run.refuse for run in world.tools]
    assert "end" == world.snapshots[-1].reason


async def test_pause_holds_before_the_proof(bench):
    """A pause asked for in the model's last turn is kept: nothing is proven until `resume`."""
    gate = Gate()
    world = World(gates={"call_model": [gate]})
    async with bench(world) as on:
        handle = await on.start()
        await gate.reached.wait()
        await handle.signal("pause")
        await until(handle, "PAUSED")
        proving = "install_dependencies" in world.attempts
        await handle.signal("resume")
        await ready(handle)

    assert not proving


STEPS = ["install_dependencies", "run_checks", "start_preview"]


@pytest.mark.parametrize("step", STEPS)
async def test_stop_during_the_proof(bench, step):
    """A stop cuts the running step of the proof short, and both sandboxes are killed."""
    gate = Gate()
    world = World(gates={step: [gate]})
    async with bench(world) as on:
        handle = await on.start()
        await gate.reached.wait()
        await handle.signal("stop", "enough")
        ended = await failure(handle)

    assert ("stopped", "Stopped: enough") == (ended.type, ended.message)
    assert step == [name for name in world.attempts if name in ("run_checks", "start_preview", step)][-1]
    assert {"sbx-1", "sbx-2"} == set(world.killed)
    assert 1 == len(world.finished)


@pytest.mark.parametrize("step", STEPS)
async def test_a_pause_during_the_proof_cuts_it_and_has_it_repeated(bench, step):
    """The running step ends at once and its sandbox is killed; on `resume` all is proven in a fresh one."""
    gate = Gate()
    world = World(gates={step: [gate]})
    async with bench(world) as on:
        handle = await on.start()
        await gate.reached.wait()
        await handle.signal("pause")
        paused = await until(handle, "PAUSED")
        killed = list(world.killed)
        await handle.signal("resume")
        result = await ready(handle)

    assert ("CODE", ["sbx-2"]) == (paused.stage, killed)
    assert [*STEPS[: STEPS.index(step) + 1], *STEPS] == [name for name in world.attempts if name in STEPS]
    assert ["build", "check", "check"] == [one.role for one in world.created]
    assert 1 == result.turns


@pytest.mark.parametrize("step", STEPS)
async def test_word_of_the_founder_cuts_the_proof_and_is_heard(bench, step):
    """A steer ends the running step at once; the model reads it, and its next end is proven."""
    gate = Gate()
    world = World(gates={step: [gate]}, replies=iter([done("first"), done("second")]))
    async with bench(world) as on:
        handle = await on.start()
        await gate.reached.wait()
        await handle.signal("steer", "use blue")
        result = await ready(handle)

    assert [[], ["[founder] use blue"]] == founder(world)
    assert ("[founder] use blue", UNPROVEN) == world.asked[1].notes
    assert [*STEPS[: STEPS.index(step) + 1], *STEPS] == [name for name in world.attempts if name in STEPS]
    assert 2 == result.turns


async def test_proofs_that_were_interrupted_are_no_failures(bench):
    """However often one is cut short, the build goes on."""
    gates = [Gate() for _ in range(guard.MAX_PROOFS + 1)]
    world = World(gates={"run_checks": list(gates)})
    async with bench(world) as on:
        handle = await on.start()
        for gate in gates:
            await gate.reached.wait()
            await handle.signal("pause")
            await handle.signal("resume")
        await ready(handle)


async def test_word_of_the_founder_during_a_pause_is_heard_before_the_proof(bench):
    """What is said while a build that was about to be proven stands still goes to the model first."""
    gate = Gate(deaf=True)
    world = World(gates={"call_model": [gate]}, replies=iter([done("first"), done("second")]))
    async with bench(world) as on:
        handle = await on.start()
        await gate.reached.wait()
        await handle.signal("pause")
        await until_event(handle, "activity_task_cancel_requested")
        gate.opened.set()
        await until(handle, "PAUSED")
        await handle.signal("steer", "use blue")
        await handle.signal("resume")
        await ready(handle)

    assert [[], ["[founder] use blue"]] == founder(world)
    assert 1 == world.attempts.count("install_dependencies")


async def test_pause_and_stop_end_a_sleep(sleeping_bench):
    """A sleeper that is paused shows PAUSED; stopped, it ends at once with its files saved."""
    async with sleeping_bench(world := World()) as on:
        midnight = await on.environment.get_current_time() + timedelta(days=300)
        world.replies = iter([acts(call("bash", "one")), refused(Refusal.SPENT, midnight)])
        handle = await on.start()
        with on.environment.auto_time_skipping_disabled():
            await until(handle, "SLEEPING")
            await handle.signal("pause")
            await until(handle, "PAUSED")
            await handle.signal("stop")
            ended = await failure(handle)
        later = await on.environment.get_current_time()

    assert "stopped" == ended.type
    assert later < midnight
    assert ["sbx-1"] == world.paused == world.killed


async def test_a_sleeper_hears_only_so_much(bench):
    """What is said to a build that cannot hear is bounded: its state must fit the next run."""
    text = "x" * 9_990
    async with bench(world := World()) as on:
        handle = await on.start(start_signal="pause")
        await until(handle, "PAUSED")
        for _ in range(9):
            await handle.signal("steer", text)
        steps = await handle.query("timeline", result_type=list[TimelineEntry])
        await handle.signal("resume")
        await ready(handle)

    assert MAX_UNHEARD_CHARS >= sum(len(note) for note in founder(world)[0])
    assert 5 == len(founder(world)[0])
    assert 4 == sum("not taken" in step.text for step in steps)
