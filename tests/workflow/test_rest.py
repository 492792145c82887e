"""Standing still, on fakes and a skipped clock: sleep, wake, pause, stop, switch, busy."""

import itertools
from datetime import UTC, timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from tests.fakes import ALLOWANCE, DAY, Gate, World, acts, balance, call, done, refused
from tests.histories import activity_names
from workflows.errors import FailureType
from workflows.models import BuildResult, BuildStatus, SetLimit
from workflows.turns import Refusal


async def test_sleeps_until_midnight_and_wakes_by_itself(sleeping_bench):
    """Out of money, a build saves, pauses its sandbox, sleeps to local midnight and goes on."""
    async with sleeping_bench(world := World()) as on:
        now = await on.environment.get_current_time()
        midnight = now + timedelta(hours=20)
        world.replies = iter([acts(call("bash", "one")), refused(Refusal.SPENT, midnight), done()])
        handle = await on.start()
        result = BuildResult.model_validate(await handle.result())
        later = await on.environment.get_current_time()
        names = await activity_names(handle)

    assert "READY" == result.status
    assert later >= midnight
    asleep = names.index("pause_sandbox")
    assert [
        "call_model",
        "take_snapshot",
        "pause_sandbox",
        "record_status",
        "record_status",
        "call_model",
    ] == (names[asleep - 2 : asleep + 4])
    assert ["SLEEPING"] == [one.status for one in world.statuses if one.event == "agent.sleeping"]


async def test_of_many_sleepers_each_wakes_when_it_said(sleeping_bench):
    """It draws its moment after midnight, tells it, and sleeps exactly until then."""
    async with sleeping_bench(world := World()) as on:
        midnight = await on.environment.get_current_time() + timedelta(hours=20)
        spent = refused(Refusal.SPENT, midnight)
        crowd = balance(settled=ALLOWANCE, wakes_at=midnight).model_copy(update={"sleepers": 9_000})
        world.replies = iter([spent.model_copy(update={"balance": crowd}), done()])
        handle = await on.start()
        await handle.result()
        fired = [
            event.event_time.ToDatetime(UTC)
            for event in (await handle.fetch_history()).events
            if event.HasField("timer_fired_event_attributes")
        ]

    told = [one.wake_at for one in world.statuses if one.event == "agent.sleeping"]
    assert midnight < told[0] < midnight + timedelta(minutes=30)
    assert abs(fired[0] - told[0]) < timedelta(seconds=1)


async def test_early_wake(sleeping_bench):
    """A wake signal ends the sleep long before midnight."""
    async with sleeping_bench(world := World()) as on:
        now = await on.environment.get_current_time()
        world.replies = iter([refused(Refusal.SPENT, now + timedelta(days=300)), done()])
        handle = await on.start()
        with on.environment.auto_time_skipping_disabled():
            await _until(handle, "SLEEPING")
            await handle.signal("wake")
            result = BuildResult.model_validate(await handle.result())
        later = await on.environment.get_current_time()

    assert "READY" == result.status
    assert later - now < timedelta(days=1)


async def test_wake_while_still_spent_goes_back_to_sleep(sleeping_bench):
    """Woken while the allowance is still spent, it looks once and sleeps again instead of looping."""
    async with sleeping_bench(world := World()) as on:
        midnight = await on.environment.get_current_time() + timedelta(hours=20)
        spent = refused(Refusal.SPENT, midnight)
        world.replies = iter([spent, spent, done()])
        handle = await on.start()
        with on.environment.auto_time_skipping_disabled():
            await _until(handle, "SLEEPING")
            await handle.signal("wake")
            await _until(handle, "SLEEPING", asked=2, world=world)
        result = BuildResult.model_validate(await handle.result())

    assert "READY" == result.status
    assert 3 == len(world.asked)


async def test_a_refused_key_waits_for_a_person(sleeping_bench):
    """The build says what to mend, saves, and goes on where it was once someone resumes it."""
    question = "Mend the key."
    refusal = ApplicationError(question, type=FailureType.PERSON_NEEDED, non_retryable=True)
    async with sleeping_bench(
        world := World(replies=iter([acts(call("bash", "one")), refusal, done()]))
    ) as on:
        handle = await on.start()
        with on.environment.auto_time_skipping_disabled():
            await world.shows("WAITING_FOR_YOU")
            shown = await handle.query("status", result_type=BuildStatus)
            await handle.signal("resume")
            result = BuildResult.model_validate(await handle.result())

    assert "READY" == result.status
    assert question == shown.message != result.message
    assert [question] == [one.text for one in world.statuses if one.event == "agent.waiting_for_input"]
    assert world.asked[1] == world.asked[2]
    assert 1 == len(world.paused)


async def test_a_mended_key_is_noticed_without_a_word(sleeping_bench):
    """Nobody resumes it: it looks again after an hour."""
    refusal = ApplicationError("Mend it.", type=FailureType.PERSON_NEEDED, non_retryable=True)
    async with sleeping_bench(world := World(replies=iter([refusal, done()]))) as on:
        before = await on.environment.get_current_time()
        result = BuildResult.model_validate(await (await on.start()).result())
        later = await on.environment.get_current_time()

    assert ("READY", 2) == (result.status, len(world.asked))
    assert later - before >= timedelta(hours=1)


async def test_a_build_that_waits_for_a_person_can_be_stopped(sleeping_bench):
    """`stop` ends the wait and the build."""
    refusal = ApplicationError("Mend it.", type=FailureType.PERSON_NEEDED, non_retryable=True)
    async with sleeping_bench(world := World(replies=iter([refusal, done()]))) as on:
        handle = await on.start()
        with on.environment.auto_time_skipping_disabled():
            await world.shows("WAITING_FOR_YOU")
            await handle.signal("stop", "enough")
            with pytest.raises(WorkflowFailureError) as caught:
                await handle.result()

    assert "Stopped: enough" in str(caught.value.cause)
    assert 1 == len(world.asked)


async def test_wake_sent_before_the_sleep_is_not_lost(bench):
    """A wake that arrives while the refused call is under way ends the sleep that follows at once."""
    gate = Gate()
    world = World(replies=iter([refused(Refusal.SPENT), done()]), gates={"call_model": [gate]})
    async with bench(world) as on:
        handle = await on.start()
        with on.environment.auto_time_skipping_disabled():
            await gate.reached.wait()
            await handle.signal("wake")
            gate.opened.set()
            result = BuildResult.model_validate(await handle.result())

    assert "READY" == result.status


async def test_busy_waits_at_most_two_minutes_without_pausing(sleeping_bench):
    """Money held by another build is waited for; the sandbox keeps running."""
    async with sleeping_bench(world := World(replies=iter([refused(Refusal.BUSY), done()]))) as on:
        handle = await on.start()
        await handle.result()
        names = await activity_names(handle)

    assert "connect_sandbox" not in names
    assert "READY" == world.statuses[-1].status


async def test_switched_off_parks_and_looks_again(sleeping_bench):
    """The kill switch parks a running build; it goes on by itself when it is back."""
    replies = itertools.chain([refused(Refusal.DISABLED)] * 3, [done()])
    async with sleeping_bench(world := World(replies=replies)) as on:
        await (await on.start()).result()

    assert 3 == [one.status for one in world.statuses].count("SWITCHED_OFF")


async def test_too_dear_asks_the_founder(sleeping_bench):
    """A call that no day can pay is a question with the way out; the sandbox is paused, nothing is bought."""
    async with sleeping_bench(world := World()) as on:
        world.replies = iter([acts(call("bash", "one")), refused(Refusal.TOO_DEAR), done()])
        handle = await on.start()
        with on.environment.auto_time_skipping_disabled():
            await world.shows("WAITING_FOR_YOU")
            shown = await handle.query("status", result_type=BuildStatus)
            await handle.execute_update("add_budget", 5_000_000)
            result = BuildResult.model_validate(await handle.result())

    assert "READY" == result.status
    assert all(way in shown.message for way in ("add_budget", "set_model", "resume"))
    assert shown.message != result.message
    assert 1 == len(world.paused)


@pytest.mark.parametrize("way", ["set_model", "resume", "wake"])
async def test_whatever_may_help_lets_it_look_again(sleeping_bench, way: str):
    """A cheaper model, a `resume` or an admin's wake end the wait at once; still too dear, it asks again."""
    dear = refused(Refusal.TOO_DEAR)
    async with sleeping_bench(world := World(replies=iter([dear, dear, done()]))) as on:
        handle = await on.start()
        with on.environment.auto_time_skipping_disabled():
            await _until(handle, "WAITING_FOR_YOU")
            await _look_again(handle, way)
            await _until(handle, "WAITING_FOR_YOU", asked=2, world=world)
            await _look_again(handle, way)
            result = BuildResult.model_validate(await handle.result())

    assert "READY" == result.status
    assert 3 == len(world.asked)


async def _look_again(handle: WorkflowHandle[Any, Any], way: str) -> None:
    if way == "set_model":
        await handle.execute_update("set_model", "claude-haiku-5-5")
    else:
        await handle.signal(way)


async def test_too_dear_is_asked_each_hour_and_not_hotter(sleeping_bench):
    """Nobody answers: it looks again once an hour."""
    replies = itertools.chain([refused(Refusal.TOO_DEAR)] * 5, [done()])
    async with sleeping_bench(world := World(replies=replies)) as on:
        before = await on.environment.get_current_time()
        result = BuildResult.model_validate(await (await on.start()).result())
        later = await on.environment.get_current_time()

    assert ("READY", 6) == (result.status, len(world.asked))
    assert later - before >= timedelta(hours=5)


async def test_a_call_far_above_its_reservation_stops_the_build(bench):
    """More than a tenth of the day above what was set aside: our prices are wrong, also for the next."""
    tenth, more = (
        acts(call("bash", text)).model_copy(update={"overrun": overrun, "balance": balance()})
        for text, overrun in (("one", 400_000), ("two", 400_001))
    )
    async with bench(world := World(replies=iter([tenth, more]))) as on:
        with pytest.raises(WorkflowFailureError) as caught:
            await (await on.start()).result()

    assert "budget_exceeded" == caught.value.cause.type
    assert 2 == len(world.asked)


async def test_pause_resume_steer_and_limit(bench):
    """A paused build waits for `resume`; steering reaches the model; a limit below use is refused."""
    world = World(replies=iter([done("first")]))
    async with bench(world) as on:
        handle = await on.start(start_signal="pause")
        with on.environment.auto_time_skipping_disabled():
            await _until(handle, "PAUSED")
            await handle.signal("steer", "use blue")
            status = await handle.execute_update(
                "set_limit", SetLimit(max_tool_calls=7), result_type=BuildStatus
            )
            with pytest.raises(WorkflowUpdateFailedError):
                await handle.execute_update("set_limit", SetLimit(max_tool_calls=0))
            await handle.signal("resume")
            await handle.result()

    assert 7 == status.max_tool_calls
    assert "[founder] use blue" in world.asked[0].notes


async def test_stop_ends_with_the_files_saved(bench):
    """A stop signal ends the build as stopped, with a snapshot and no sandbox left."""
    world = World(replies=iter([acts(call("bash", f"{n}")) for n in range(50)]))
    async with bench(world) as on:
        handle = await on.start()
        await handle.signal("stop", "changed my mind")
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()

    assert ("stopped", "Stopped: changed my mind") == (caught.value.cause.type, caught.value.cause.message)
    assert "failed" == world.finished[0].status


async def test_sandbox_found_stale_after_sleep_is_restored(sleeping_bench):
    """A sandbox that is not the one that was paused is replaced from the restore point."""
    async with sleeping_bench(world := World(intact=iter([False]))) as on:
        midnight = await on.environment.get_current_time() + timedelta(hours=1)
        world.replies = iter(
            [
                acts(call("bash", "one")),
                refused(Refusal.SPENT, midnight),
                acts(call("bash", "two")),
                done(),
            ]
        )
        await (await on.start()).result()

    assert [None, 2] == [one.restore_point for one in world.created[:2]]
    assert "its marker is missing" in world.asked[3].notes[0]


async def test_model_is_told_as_the_allowance_runs_low(bench):
    """Told once at eight calls left, once more at three; never again for the same stage."""
    price = 100_000
    left = [9, 8, 7, 3, 2]
    world = World(
        replies=iter([*(acts(call("bash", f"{n}")) for n in range(5)), done()]),
        balances=iter([balance(settled=4_000_000 - price * n, worst_case=price) for n in left]),
    )
    async with bench(world) as on:
        await (await on.start()).result()

    notes = [[note for note in one.notes if note.startswith("[allowance]")] for one in world.asked]
    assert [0, 0, 1, 0, 1, 0] == [len(each) for each in notes]
    assert "Leave the work running" in notes[4][0]


async def test_a_short_wait_is_no_new_day(sleeping_bench):
    """Waiting for money of another build does not make the model hear of the same stage again."""
    low = balance(settled=3_400_000)
    turns = [acts(call("bash", "one")), refused(Refusal.BUSY), acts(call("bash", "two")), done()]
    async with sleeping_bench(world := World(replies=iter(turns), balances=itertools.repeat(low))) as on:
        await (await on.start()).result()

    told = [sum(note.startswith("[allowance]") for note in one.notes) for one in world.asked]
    assert [0, 1, 1, 0] == told  # the refused call's notes are sent again


async def test_each_day_is_told_of_its_own_end(bench):
    """A day that ended winding down says nothing of the next one, which is told anew, slept over or not."""
    days = [balance(settled=3_900_000), balance(settled=3_300_000, day=DAY + timedelta(days=1))]
    world = World(replies=iter([*(acts(call("bash", f"{n}")) for n in range(2)), done()]))
    world.balances = iter([*days, days[-1]])
    turns = [one.model_copy(update={"balance": day}) for one, day in zip(world.replies, days, strict=False)]
    world.replies = iter([*turns, done().model_copy(update={"balance": days[-1]})])
    async with bench(world) as on:
        await (await on.start()).result()

    told = [note for one in world.asked for note in one.notes if note.startswith("[allowance]")]
    assert ["nearly spent" in told[0], "82 %" in told[1]] == [True, True]


async def _until(handle, status, *, asked=0, world=None):
    """Wait until the build shows a status after so many calls."""
    while True:
        found = await handle.query("status", result_type=BuildStatus)
        if found.status == status and (world is None or len(world.asked) >= asked):
            return
