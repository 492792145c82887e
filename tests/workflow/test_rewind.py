"""A build that is taken back to a restore point: what it does is cut short, and nothing is told false."""

from datetime import timedelta

import pytest
from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from tests.fakes import Gate, World, acts, balance, call, done, refused
from tests.handles import failure, ready, until, until_event
from workflows.errors import FailureType
from workflows.models import BuildStatus
from workflows.turns import Refusal


async def back(handle, turn: int = 1, **options) -> BuildStatus:
    return await handle.execute_update("rewind", {"turn": turn}, result_type=BuildStatus, **options)


async def why_not(handle, *args) -> ApplicationError:
    """The typed failure of a rewind that was refused."""
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await handle.execute_update("rewind", args=args)
    assert isinstance(caught.value.cause, ApplicationError)
    return caught.value.cause


def heads(world: World) -> list[int]:
    return [one.head for one in world.asked]


async def test_a_running_command_is_cut_short_and_all_goes_back_together(bench):
    """What there is is saved, a new sandbox has the old files, the call after it follows the old head."""
    gate = Gate()
    world = World(gates={"run_tool": [None, gate]})
    world.replies = iter([acts(call("bash", "one")), acts(call("bash", "two"), call("bash", "x")), done()])
    async with bench(world) as on:
        handle = await on.start()
        await gate.reached.wait()
        await back(handle)
        result = await ready(handle)

    assert [1, 3, 501] == heads(world)
    assert [1, 2, 2] == [one.turn for one in world.asked]
    building = [one for one in world.created if one.role == "build"]
    assert [(1, None), (2, 1_001)] == [(one.generation, one.restore_point) for one in building]
    assert "sbx-1" in world.killed
    assert ["turn", "rewind"] == [one.reason for one in world.snapshots][:2]
    assert () == world.asked[-1].notes
    assert 2 == result.turns


async def test_a_full_disk_is_no_obstacle(bench):
    """What cannot be saved is given up, as who goes back does not want it; a new sandbox has room."""
    gate = Gate()
    full = ApplicationError("The disk is full.", type=FailureType.DISK_FULL, non_retryable=True)
    world = World(gates={"run_tool": [None, gate]}, faults={"take_snapshot": [None, full]})
    world.replies = iter([acts(call("bash", "one")), acts(call("bash", "two")), done()])
    async with bench(world) as on:
        handle = await on.start()
        await gate.reached.wait()
        await back(handle)
        await ready(handle)

    assert [1, 3, 501] == heads(world)
    assert () == world.asked[-1].notes


async def test_a_question_that_comes_with_a_rewind_waits_for_it(bench):
    """The build goes back at once and not after an hour; the question comes again by itself."""
    gate = Gate(deaf=True)
    needed = ApplicationError("Mend the key.", type=FailureType.PERSON_NEEDED, non_retryable=True)
    world = World(gates={"call_model": [None, gate]}, faults={"call_model": [None, needed]})
    world.replies = iter([acts(call("bash", "one")), done()])
    async with bench(world) as on:
        handle = await on.start()
        await gate.reached.wait()
        await back(handle)
        await until_event(handle, "activity_task_cancel_requested")
        gate.opened.set()
        await ready(handle)

    assert [1, 501] == heads(world)
    assert [] == [one for one in world.statuses if one.event == "agent.waiting_for_input"]


async def test_what_was_bought_and_called_still_counts(bench):
    """Money and tool calls are never taken back; phases and guards are."""
    gate = Gate()
    world = World(gates={"call_model": [None, None, gate]})
    world.replies = iter([acts(call("bash", "one")), acts(call("bash", "two")), done()])
    world.balances = iter([balance(settled=300 * n) for n in (1, 2, 3)])
    async with bench(world) as on:
        handle = await on.start()
        await gate.reached.wait()
        await back(handle)
        await world.shows("DEPS")
        status = await handle.query("status", result_type=BuildStatus)
        await ready(handle)

    assert (2, 2, "Foundation") == (status.turns, status.tool_calls, status.phase)
    assert 900 == status.spent_microdollars


async def test_a_reply_that_came_all_the_same_is_left_behind(bench):
    """It was paid for; the conversation goes on from the restore point, and its calls are not run."""
    gate = Gate(deaf=True)
    world = World(gates={"call_model": [None, gate]})
    world.replies = iter([acts(call("bash", "one")), acts(call("bash", "left")), done()])
    async with bench(world) as on:
        handle = await on.start()
        await gate.reached.wait()
        await back(handle)
        await until_event(handle, "activity_task_cancel_requested")
        gate.opened.set()
        await ready(handle)

    assert [1, 3, 501] == heads(world)
    assert ["one"] == [run.call.label for run in world.tools]


async def test_words_of_the_founder_survive_and_other_notes_do_not(bench):
    """What a person said is still to be read; what the build noted was of what is undone."""
    gate = Gate()
    world = World(gates={"run_tool": [None, None, gate]})
    world.replies = iter([acts(call("bash", "one")), acts(call("bash", "two")), done()])
    world.lose_calls = {"bash-one"}
    async with bench(world) as on:
        handle = await on.start()
        await gate.reached.wait()
        await handle.signal("steer", "use blue")
        await back(handle)
        await ready(handle)

    assert ("[founder] use blue",) == world.asked[-1].notes


async def test_a_sleeper_goes_back_at_once_and_sleeps_again(sleeping_bench):
    """Its files and its conversation are those of the restore point; for more there is still no money."""
    async with sleeping_bench(world := World()) as on:
        midnight = await on.environment.get_current_time() + timedelta(hours=20)
        world.replies = iter(
            [
                acts(call("bash", "one")),
                refused(Refusal.SPENT, midnight),
                refused(Refusal.SPENT, midnight),
                done(),
            ]
        )
        handle = await on.start()
        with on.environment.auto_time_skipping_disabled():
            await world.shows("SLEEPING")
            await back(handle)
            while 3 > len(world.asked):
                await world.told.wait()
            await until(handle, "SLEEPING")
        await ready(handle)

    assert [1, 3, 501, 501] == heads(world)
    assert ["sbx-1", "sbx-2"] == world.paused[:2]


async def test_a_paused_build_goes_back_when_it_goes_on(bench):
    """Nothing is made for it while it is paused."""
    gate = Gate()
    world = World(gates={"run_tool": [gate]})
    world.replies = iter([acts(call("bash", "one")), done()])
    async with bench(world) as on:
        handle = await on.start()
        await gate.reached.wait()
        await handle.signal("pause")
        await until(handle, "PAUSED")
        await back(handle)
        status = await handle.query("status", result_type=BuildStatus)
        made = len(world.created)
        await handle.signal("resume")
        await ready(handle)

    assert ("PAUSED", 1) == (status.status, made)
    assert [1, 501] == heads(world)


@pytest.mark.parametrize("step", ["install_dependencies", "run_checks", "start_preview"])
async def test_a_proof_is_cut_short(bench, step):
    """It does not count, its sandbox goes, and the build is back in code."""
    gate = Gate()
    world = World(gates={step: [gate]}, replies=iter([acts(call("bash", "one")), done(), done()]))
    async with bench(world) as on:
        handle = await on.start()
        await gate.reached.wait()
        await back(handle)
        await ready(handle)

    assert [1, 3, 501] == heads(world)
    assert () == world.asked[-1].notes
    assert "sbx-2" in world.killed


async def test_the_last_of_two_rewinds_holds(bench):
    """One that is asked for while another is being done is done after it."""
    gate, restore = Gate(), Gate()
    world = World(gates={"run_tool": [gate], "create_sandbox": [None, restore]})
    world.replies = iter([acts(call("bash", "one")), done()])
    async with bench(world) as on:
        handle = await on.start()
        await gate.reached.wait()
        await back(handle, 1)
        await restore.reached.wait()
        await back(handle, 0)
        restore.opened.set()
        await ready(handle)

    assert [1, 500] == heads(world)
    assert [1, 0] == [one.rewind.turn for one in world.rewound]


async def test_the_same_update_again_asks_nothing(bench):
    """Also in a later run of the build, where the server knows it no more."""
    gate, later = Gate(), Gate()
    world = World(gates={"run_tool": [None, gate, None, None, later]})
    world.replies = iter([*(acts(call("bash", f"{n}")) for n in range(6)), done()])
    async with bench(world) as on:
        handle = await on.start({"idea": "x", "turns_per_run": 2})
        newest = on.client.get_workflow_handle(handle.id)
        await gate.reached.wait()
        await back(newest, id="once")
        await later.reached.wait()
        await back(newest, id="once")
        later.opened.set()
        await newest.result()

    assert 1 == len(world.rewound)


async def test_what_cannot_be_gone_back_to_is_refused_with_a_word(bench):
    """The update fails, naming what is kept, and the build goes on undisturbed."""
    gate = Gate()
    world = World(gates={"run_tool": [gate]}, kept=frozenset({1}))
    world.replies = iter([acts(call("bash", "one")), done()])
    async with bench(world) as on:
        handle = await on.start()
        await gate.reached.wait()
        missing = await why_not(handle, {"turn": 7})
        shapes = [
            await why_not(handle, *args) for args in ([], [None], ["x"], [{"turn": -1}], [{"turn": "y"}])
        ]
        gate.opened.set()
        await ready(handle)

    assert "Kept are: turn 1." in missing.message
    assert all("turn" in one.message for one in shapes)
    assert [] == world.rewound
    assert [1, 3] == heads(world)


async def test_a_build_that_has_not_begun_or_is_ending_cannot_go_back(bench):
    """Who asks is told what to do instead."""
    begin, end = Gate(), Gate()
    world = World(gates={"prepare_build": [begin], "finish_build": [end]})
    async with bench(world) as on:
        handle = await on.start()
        await begin.reached.wait()
        early = await why_not(handle, {"turn": 1})
        begin.opened.set()
        await end.reached.wait()
        late = await why_not(handle, {"turn": 1})
        end.opened.set()
        await ready(handle)

    assert "has not begun" in early.message
    assert "fork" in late.message


async def test_at_the_limit_of_tool_calls_it_is_refused_until_the_limit_is_raised(bench):
    """Going back gives no call back, and the build would end: the last call that runs counts, too."""
    gate = Gate()
    world = World(gates={"run_tool": [None, gate]})
    world.replies = iter([acts(call("bash", "one")), acts(call("bash", "two")), done()])
    async with bench(world) as on:
        handle = await on.start({"idea": "x", "max_tool_calls": 2})
        await gate.reached.wait()
        running = await why_not(handle, {"turn": 1})
        await handle.signal("pause")
        await until(handle, "PAUSED")
        paused = await why_not(handle, {"turn": 1})
        await handle.execute_update("set_limit", {"max_tool_calls": 3})
        await back(handle)
        await handle.signal("resume")
        await ready(handle)

    assert "set_limit" in running.message
    assert running.message == paused.message
    assert [1, 3, 501] == heads(world)


async def test_a_stop_that_comes_with_a_rewind_wins(bench):
    """The build ends, with its files as they are."""
    gate = Gate()
    world = World(gates={"run_tool": [gate]}, replies=iter([acts(call("bash", "one"))]))
    async with bench(world) as on:
        handle = await on.start()
        await gate.reached.wait()
        await back(handle)
        await handle.signal("stop", "enough")
        ended = await failure(handle)

    assert "stopped" == ended.type
    assert 1 == world.attempts.count("finish_build")


async def test_a_used_up_budget_ends_the_build_with_a_word(bench):
    """No sleep would help."""
    async with bench(World(replies=iter([refused(Refusal.USED_UP)]))) as on:
        ended = await failure(await on.start({"idea": "x", "budget_microdollars": 2_000_000}))

    assert "budget_exceeded" == ended.type
    assert "fork it with a larger budget" in ended.message
