"""Days as clocks change and users move: each date has its allowance once, and nobody sleeps past midnight."""

import uuid
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from activities.accounts import Accounts
from activities.billing_cycle import local_day, midnight_of
from activities.money_tables import days
from activities.orders import Delivery, Order, Refused, Reservation
from activities.prices import Usage
from workflows.models import PreparedBuild
from workflows.turns import Refusal

EAST, WEST = "Pacific/Kiritimati", "Etc/GMT+12"
PRICE = 45_000
"""Worst case of `buy`, which is what it costs: 10,000 tokens in at $2.50 and 2,000 out at $10 a million."""


async def buy(desk: Any, build: PreparedBuild, at: datetime) -> Refused | None:
    """Buy a reply at its worst price at a moment; gives why not."""
    path = await desk.transcript.path(build.head)
    made = await desk.purchases.reserve(
        Order(
            build_id=build.build_id,
            user=build.user,
            model=build.model,
            parent=path[-1],
            question=f'["{uuid.uuid4()}"]',
            input_tokens=10_000,
            max_tokens=2_000,
            at=at,
        )
    )
    if isinstance(made, Refused):
        return made
    assert isinstance(made, Reservation)
    usage = Usage(input_tokens=10_000, cache_write_tokens=10_000, output_tokens=2_000)
    given = Delivery(body='[{"type":"text","text":"a"}]', usage=usage, stop_reason="end_turn", request_id="r")
    await desk.purchases.settle(made, given)
    return None


async def poor(desk: Any, zone: str, at: datetime) -> PreparedBuild:
    """A build of a user who may buy one reply on each of the next days: their cycle begins."""
    today = local_day(at, timezone=zone)
    await desk.give(tier="bootstrapper", timezone=zone, cycle_budget=PRICE * 40, renews_on=today)
    return await desk.prepare(at=at)


async def dates(desk: Any) -> list[date]:
    """The days that were opened for the user."""
    query = select(days.c.day).filter_by(user_id=desk.user).order_by(days.c.day)
    async with desk.engine.connect() as connection:
        return list((await connection.execute(query)).scalars())


async def move(desk: Any, zone: str, at: datetime) -> None:
    await Accounts(desk.engine).change(desk.user, {"timezone": zone}, at=at)


async def test_moving_to_and_fro_gives_no_day_twice(desk):
    """From +14 to -12 and back, on one moment of three dates: the day that was opened stays the day."""
    now = datetime(2027, 3, 2, 11, tzinfo=UTC)
    build = await poor(desk, EAST, now)
    refused = [await buy(desk, build, now)]
    for zone in (WEST, "UTC", EAST, WEST):
        await move(desk, zone, now)
        refused.append(await buy(desk, build, now))
    catches_up = midnight_of(date(2027, 3, 4), timezone=WEST)
    before = await buy(desk, build, catches_up - timedelta(seconds=1))
    after = await buy(desk, build, catches_up)

    assert [None, *[Refusal.SPENT] * 4] == [each and each.reason for each in refused]
    assert {date(2027, 3, 3)} == {each.balance.day for each in refused if each}
    assert catches_up == refused[-1].balance.wakes_at
    assert (Refusal.SPENT, None) == (before.reason, after)
    assert [date(2027, 3, 3), date(2027, 3, 4)] == await dates(desk)


@pytest.mark.parametrize(("zone", "wakes"), [(EAST, 10), (WEST, 36), ("Europe/Berlin", 23)])
async def test_a_zone_changed_while_asleep_moves_the_midnight(desk, zone: str, wakes: int):
    """Who looks again is told the new midnight, at which there is money, and is charged for no day twice."""
    begin = datetime(2027, 3, 2, tzinfo=UTC)
    build = await poor(desk, "UTC", begin)
    await buy(desk, build, begin)
    asleep = await buy(desk, build, begin + timedelta(hours=1))
    await move(desk, zone, begin + timedelta(hours=2))
    moved = await buy(desk, build, begin + timedelta(hours=2))
    awake = await buy(desk, build, moved.balance.wakes_at)

    assert begin + timedelta(days=1) == asleep.balance.wakes_at
    assert begin + timedelta(hours=wakes) == moved.balance.wakes_at
    assert awake is None
    assert [date(2027, 3, 2), date(2027, 3, 3)] == await dates(desk)


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("America/New_York", date(2027, 3, 14), 23),
        ("America/New_York", date(2027, 11, 7), 25),
        ("Africa/Cairo", date(2027, 4, 30), 23),
        ("Asia/Beirut", date(2027, 3, 28), 23),
        ("America/Havana", date(2027, 11, 7), 25),
        ("Australia/Lord_Howe", date(2027, 10, 3), 23.5),
        ("UTC", date(2028, 2, 29), 24),
    ],
)
async def test_midnight_while_working_opens_the_new_day(desk, zone: str, day: date, hours: float):
    """A day of 23 or 25 hours, or without a midnight, has one allowance; the next is there at its end."""
    begin, end = (midnight_of(each, timezone=zone) for each in (day, day + timedelta(days=1)))
    build = await poor(desk, zone, begin)
    moments = [begin, end - timedelta(seconds=1), end, end + timedelta(hours=1)]
    refused = [await buy(desk, build, at) for at in moments]

    assert timedelta(hours=hours) == end - begin
    assert [None, Refusal.SPENT, None, Refusal.SPENT] == [each and each.reason for each in refused]
    assert end == refused[1].balance.wakes_at
    assert [day, day + timedelta(days=1)] == await dates(desk)
