"""What people change of a running build through the database: money for the day, the model."""

from datetime import timedelta

import pytest
from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from tests.fakes import World, acts, bug, call, done, refused
from tests.handles import ready, until
from workflows.budget import MOST_ADDED
from workflows.errors import FailureType
from workflows.models import BuildStatus, TimelineEntry
from workflows.turns import Refusal


async def update(handle, name, *args, **options) -> BuildStatus:
    return await handle.execute_update(name, args=args, result_type=BuildStatus, **options)


async def refusal(handle, name, *args) -> ApplicationError:
    """The typed failure of an update that was refused."""
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await update(handle, name, *args)
    assert isinstance(caught.value.cause, ApplicationError)
    return caught.value.cause


async def details(handle) -> str:
    found = await handle.query("__temporal_workflow_metadata")
    return found["currentDetails"] if isinstance(found, dict) else found.current_details


async def test_money_added_wakes_a_sleeper_and_its_siblings(sleeping_bench):
    """The money is in before it wakes; the same update again adds nothing; the user's others are woken."""
    async with sleeping_bench(world := World()) as on:
        midnight = await on.environment.get_current_time() + timedelta(hours=20)
        world.replies = iter([refused(Refusal.SPENT, midnight), done()])
        handle = await on.start({"idea": "x", "user": "ann"})
        with on.environment.auto_time_skipping_disabled():
            await until(handle, "SLEEPING")
            await update(handle, "add_budget", 5_000_000, id="five")
            await ready(handle)
        later = await on.environment.get_current_time()

    assert later < midnight
    (added,) = world.added
    assert (5_000_000, "ann", f"{handle.first_execution_run_id}/five") == (
        added.microdollars, added.user, added.key,
    )  # fmt: skip
    assert [("ann", handle.id)] == [(one.user, one.but) for one in world.woken]


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ([], "no whole number"),
        ([None], "no whole number"),
        (["5"], "no whole number"),
        ([2.5], "no whole number"),
        ([True], "no whole number"),
        ([{"microdollars": 5}], "no whole number"),
        ([0], "adds nothing"),
        ([-5_000_000], "adds nothing"),
        ([MOST_ADDED + 1], "cannot be added at once"),
        ([10**40], "cannot be added at once"),
    ],
)
async def test_a_wrong_amount_changes_nothing(bench, given, word):
    """The update fails with the reason, which stands in the details too; the build is as it was."""
    async with bench(world := World()) as on:
        handle = await on.start(start_signal="pause")
        await until(handle, "PAUSED")
        why = await refusal(handle, "add_budget", *given)
        shown = await details(handle)
        await handle.signal("resume")
        await ready(handle)

    assert "InvalidAmount" == why.type
    assert word in why.message
    assert f"refused: {why.message}" in shown
    assert [] == world.added + world.woken


async def test_what_the_database_refuses_is_told(bench):
    """The activity's own words reach whoever asked, and the details; the build goes on."""
    world = World(faults={"add_money": [bug("user: unknown")]})
    async with bench(world) as on:
        handle = await on.start(start_signal="pause")
        await until(handle, "PAUSED")
        why = await refusal(handle, "add_budget", 5)
        shown = await details(handle)
        await update(handle, "add_budget", 5)
        cleared = await details(handle)
        await handle.signal("resume")
        await ready(handle)

    assert "user: unknown" == why.message
    assert [True, False] == ["refused: user: unknown" in one for one in (shown, cleared)]


async def test_the_next_call_uses_the_new_model(bench):
    """A model that is allowed is used from the next call on, and shown."""
    world = World(replies=iter([acts(call("bash", "one")), done()]))
    async with bench(world) as on:
        handle = await on.start(start_signal="pause")
        await until(handle, "PAUSED")
        status = await update(handle, "set_model", "claude-haiku-5-5")
        await handle.signal("resume")
        await ready(handle)

    assert "claude-haiku-5-5" == status.model
    assert ["claude-haiku-5-5"] * 2 == [one.model for one in world.asked]


@pytest.mark.parametrize("given", [[], [None], [5], ["claude-9"]])
async def test_a_wrong_model_changes_nothing(bench, given):
    """Refused with the reason, in the details too."""
    wrong = ApplicationError(
        "model: 'claude-9' is not available.", type=FailureType.UNKNOWN_MODEL, non_retryable=True
    )
    async with bench(world := World(faults={"choose_model": [wrong]})) as on:
        handle = await on.start(start_signal="pause")
        await until(handle, "PAUSED")
        why = await refusal(handle, "set_model", *given)
        shown = await details(handle)
        await handle.signal("resume")
        await ready(handle)

    assert "model: " in why.message
    assert f"refused: {why.message}" in shown
    assert ["claude-sonnet-5-5"] == [one.model for one in world.asked]


async def test_switched_on_again_a_parked_build_goes_on_by_a_wake(sleeping_bench):
    """It parks with a word before its next call; `wake` makes it look at once, not after minutes."""
    replies = iter([acts(call("bash", "one")), refused(Refusal.DISABLED), done()])
    async with sleeping_bench(world := World(replies=replies)) as on:
        handle = await on.start()
        with on.environment.auto_time_skipping_disabled():
            await until(handle, "SWITCHED_OFF")
            steps = await handle.query("timeline", result_type=list[TimelineEntry])
            await handle.signal("wake")
            await ready(handle)

    assert any(step.text.startswith("SWITCHED_OFF: ") for step in steps)
    assert 3 == len(world.asked)
    assert ["sbx-1"] == world.paused
