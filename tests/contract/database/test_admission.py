"""A plan's limits hold for all of a user's builds, whoever starts them at once and whatever crashes."""

import asyncio
import uuid
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import select
from temporalio.exceptions import ApplicationError

from activities.tables import builds
from workflows.errors import FailureType
from workflows.models import ChooseModel, FinishBuild, PreparedBuild, StatusChange
from workflows.turns import AddMoney, Refusal

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


async def test_no_race_starts_one_build_too_many(desk, make_desk):
    """Of ten starts at once as many are taken as the plan allows; each of the others hears the limit."""
    await desk.give(concurrent_builds=3)
    workers = [desk, make_desk(), make_desk()]
    starts = [workers[n % 3].prepare(user=desk.user) for n in range(10)]
    made = await asyncio.gather(*starts, return_exceptions=True)
    refused = [one for one in made if isinstance(one, ApplicationError)]

    assert 3 == sum(isinstance(one, PreparedBuild) for one in made)
    assert {(FailureType.TOO_MANY_BUILDS, True)} == {(one.type, one.non_retryable) for one in refused}
    assert all("allows 3 at once" in one.message for one in refused)


async def test_a_place_is_held_until_the_build_ends(desk):
    """A crash gives no place back and an end does; an attempt of a build that has its place gets it again."""
    await desk.give(concurrent_builds=1)
    run_id = str(uuid.uuid4())
    build = await desk.prepare(run_id=run_id)
    again = await desk.prepare(run_id=run_id)
    with pytest.raises(ApplicationError, match="1 builds running"):
        await desk.prepare()
    ended = FinishBuild(build_id=build.build_id, status="failed", outcome="stopped")
    await desk.run(desk.builds.finish_build, ended)

    assert build == again
    assert (await desk.prepare()).user == desk.user


async def test_builds_of_a_day_are_counted_by_the_users_day(desk):
    """Ended ones count too; the next local day begins anew."""
    await desk.give(builds_a_day=1, timezone="Asia/Tokyo")
    await desk.prepare(at=datetime(2026, 11, 23, 14, 59, tzinfo=UTC))
    await desk.prepare(at=datetime(2026, 11, 23, 15, 1, tzinfo=UTC))
    with pytest.raises(ApplicationError, match="allows 1 a day") as caught:
        await desk.prepare(at=datetime(2026, 11, 23, 16, tzinfo=UTC))

    assert FailureType.TOO_MANY_BUILDS == caught.value.type


@pytest.mark.parametrize(("own", "most"), [(None, 1_000), (40, 40), (5_000, 5_000)])
async def test_tool_calls_are_limited_by_the_plan_or_the_user(desk, own: int | None, most: int):
    """A request above the limit is refused by name with the limit; at it, it is taken."""
    await desk.give(tier="bootstrapper", tool_calls=own)
    with pytest.raises(ApplicationError, match=f"max_tool_calls: {most + 1} is above {most}") as caught:
        await desk.prepare(max_tool_calls=most + 1)

    assert FailureType.INVALID_BUILD_REQUEST == caught.value.type
    assert most == (await desk.prepare(max_tool_calls=most)).tool_calls_limit


async def test_without_limits_of_their_own_the_plan_holds(desk):
    """Null in a user's row is the tier's number."""
    await desk.give(tier="bootstrapper", concurrent_builds=None)
    await desk.prepare()
    await desk.prepare()
    with pytest.raises(ApplicationError, match="allows 2 at once"):
        await desk.prepare()


async def test_an_exhausted_cycle_sleeps_to_its_renewal(desk):
    """Nothing left of the month: the next look is at the renewal's local midnight; added money is for now."""
    await desk.give(cycle_budget=0, timezone="Pacific/Kiritimati")
    exhausted = await desk.ledger.balance(desk.user, at=NOON)
    added = await desk.add(5_000_000)

    assert datetime(2026, 11, 30, 10, tzinfo=UTC) == exhausted.wakes_at
    assert 5_000_000 == added.left


async def test_a_refused_call_is_told_how_many_sleep_to_the_same_midnight(desk, make_desk):
    """Of all users and itself, however it is asleep already; not those who wake at another time."""
    midnight, others = datetime(2027, 3, 2, tzinfo=UTC), make_desk()
    await desk.give(tier="bootstrapper")
    mine, noon = await desk.prepare(), midnight - timedelta(hours=12)
    for build, wakes in [
        (mine, timedelta(minutes=2)),
        *[(await others.prepare(), timedelta(minutes=n)) for n in (0, 1, 59, 61, -1)],
    ]:
        change = StatusChange(
            build_id=build.build_id, event="agent.sleeping", status="SLEEPING", wake_at=midnight + wakes
        )
        await desk.run(desk.builds.record_status, change)
    await desk.set_money(1, day=noon.date())
    refused = await desk.call(mine, at=noon)

    assert Refusal.SPENT is refused.refused
    assert (midnight, 4) == (refused.balance.wakes_at, refused.balance.sleepers)


async def test_money_is_added_once_a_key(desk, make_desk):
    """Attempts at once, or the next day, of one update add once; another update adds again."""
    build = await desk.prepare()
    before = await desk.ledger.balance(desk.user, at=NOON)
    workers = [desk, make_desk()]
    one = AddMoney(build_id=build.build_id, user=desk.user, microdollars=5_000_000, key=f"{desk.user}/1")
    attempts = [worker.run(worker.ledger.add_money, one, at=NOON) for worker in workers * 3]
    await asyncio.gather(*attempts)
    again = await desk.run(desk.ledger.add_money, one.model_copy(update={"key": f"{desk.user}/2"}), at=NOON)
    tomorrow = await desk.run(desk.ledger.add_money, one, at=NOON.replace(day=24))

    assert before.allowance + 10_000_000 == again.allowance
    assert date(2026, 11, 24) == tomorrow.day


async def test_another_model_must_be_allowed(desk):
    """The plan's models only, else refused with the list and the row as it was."""
    await desk.give(tier="bootstrapper")
    build = await desk.prepare()
    wanted = ChooseModel(build_id=build.build_id, user=desk.user, model="claude-haiku-5-5")
    chosen = await desk.run(desk.builds.choose_model, wanted)
    with pytest.raises(ApplicationError, match="claude-sonnet-5-5") as caught:
        await desk.run(desk.builds.choose_model, wanted.model_copy(update={"model": "claude-opus-5-5"}))
    async with desk.engine.connect() as connection:
        kept = await connection.execute(select(builds.c.model).filter_by(id=build.build_id))

    assert FailureType.UNKNOWN_MODEL == caught.value.type
    assert chosen == "claude-haiku-5-5" == kept.scalar_one()
