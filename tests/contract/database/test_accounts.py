"""What an admin changes holds from the next look on; what is refused changes nothing."""

import uuid
from datetime import UTC, date, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from activities.accounts import Accounts, UnknownUser
from starter.admin import lines_of

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAYS_LEFT = 8
"""From the 23rd to the renewal on the 1st."""


@pytest.fixture
def accounts(desk) -> Accounts:
    return Accounts(desk.engine)


async def test_more_budget_is_there_the_same_day(desk, accounts):
    """A day that is open already is shared out anew, up or down; what was added to it stays."""
    await desk.give(tier="bootstrapper")
    await desk.add(5_000_000)
    raised = await accounts.change(desk.user, {"tier": "partner"}, at=NOON)
    own = await accounts.change(desk.user, {"cycle_budget": 80_000_000}, at=NOON)
    back = await accounts.change(desk.user, {"cycle_budget": None, "tier": "bootstrapper"}, at=NOON)

    allowed = [one.balance.allowance - 5_000_000 for one in (raised, own, back)]
    assert [120_000_000 // DAYS_LEFT, 10_000_000, 30_000_000 // DAYS_LEFT] == allowed


async def test_money_taken_back_never_leaves_less_than_nothing(desk, accounts):
    """A smaller budget cannot bring a day below what was taken from it by hand."""
    await desk.give(cycle_budget=80_000_000)
    await desk.add(-10_000_000)
    less = await accounts.change(desk.user, {"cycle_budget": 8_000_000}, at=NOON)

    assert 0 == less.balance.allowance == less.balance.left


async def test_a_renewal_shares_the_cycle_out_anew(desk, accounts):
    """The budget is shared over the days to the new renewal."""
    await desk.give(cycle_budget=30_000_000)
    moved = await accounts.change(desk.user, {"renews_on": date(2026, 11, 26)}, at=NOON)

    assert 10_000_000 == moved.balance.allowance


async def test_only_a_plan_makes_a_user(accounts):
    """A mistyped name makes nobody; a plan does."""
    name = f"new-{uuid.uuid4().hex}"
    for values in ({"suspended": True}, {"cycle_budget": 1}):
        with pytest.raises(UnknownUser):
            await accounts.change(name, values, at=NOON)
    for wrong in (
        accounts.add(name, 5, key=name, at=NOON),
        accounts.override_model(name, "coder", "m", at=NOON),
    ):
        with pytest.raises(UnknownUser):
            await wrong
    with pytest.raises(UnknownUser):
        await accounts.show(name, at=NOON)

    assert "partner" == (await accounts.change(name, {"tier": "partner"}, at=NOON)).user.tier


async def test_an_admins_model_is_used_until_it_is_left_to_the_plan(desk, accounts):
    """Each role has its own."""
    await desk.give(tier="bootstrapper")
    await accounts.override_model(desk.user, "reviewer", "claude-opus-5", at=NOON)
    await accounts.override_model(desk.user, "coder", "claude-haiku-5-5", at=NOON)
    set_by_admin = (await desk.prepare()).model
    after = await accounts.override_model(desk.user, "coder", "", at=NOON)

    assert "claude-haiku-5-5" == set_by_admin
    assert {"reviewer": "claude-opus-5"} == after.user.override_models


async def test_money_added_by_hand_is_added_once(desk, accounts):
    """The same key adds nothing more; builds that run are counted."""
    build = await desk.prepare()
    before = await accounts.show(desk.user, at=NOON)
    for _ in range(2):
        after = await accounts.add(desk.user, 1, key=build.build_id, at=NOON)

    assert before.balance.allowance + 1 == after.balance.allowance
    assert 1 == after.open_builds


@pytest.mark.parametrize(
    "wrong",
    [
        "cycle_budget = -1",
        "cycle_budget = 99999999999999999999",
        "cycle_budget = 'five'",
        "tool_calls = -1",
        "tier = 'gold'",
        "renews_on = '2026-02-30'",
        "override_models = '[]'",
        "override_models = '{\"coder\": 5}'",
        "suspended = NULL",
        "timezone = NULL",
    ],
)
async def test_plain_sql_that_no_build_could_go_by_is_refused(desk, wrong: str):
    """The database says what is wrong, and the row stays as it was."""
    await desk.give(tier="bootstrapper")
    before = await Accounts(desk.engine).show(desk.user, at=NOON)
    statement = text(f"UPDATE users SET {wrong} WHERE id = :u")  # noqa: S608 no outside text
    with pytest.raises(DBAPIError):
        async with desk.engine.begin() as connection:
            await connection.execute(statement, {"u": desk.user})

    assert before == await Accounts(desk.engine).show(desk.user, at=NOON)


@pytest.mark.parametrize(
    "wrong", ["cycle_budget = -1", "weight = 0", "default_models = '[]'", "allowed_models = '{}'"]
)
async def test_a_wrong_plan_is_refused(desk, wrong: str):
    """A plan of everybody's is held to the same."""
    statement = text(f"UPDATE plan_tiers SET {wrong} WHERE slug = 'partner'")  # noqa: S608 no outside text
    with pytest.raises(IntegrityError, match="plan_tiers_"):
        async with desk.engine.begin() as connection:
            await connection.execute(statement)


async def test_what_plain_sql_can_get_wrong_is_lived_with(desk):
    """An unknown zone is UTC and shown so; a renewal that is past names the day of the month."""
    await desk.give(tier="bootstrapper", timezone="Mars", renews_on=date(2020, 1, 15))
    account = await Accounts(desk.engine).show(desk.user, at=NOON)
    told = lines_of(account)[1]

    assert datetime(2026, 11, 24, tzinfo=UTC) == account.balance.wakes_at
    assert "renews 2026-12-15, time zone 'Mars', which is none: UTC is used" in told
