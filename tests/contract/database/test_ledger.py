"""The day's money holds, however many builds want it at once."""

import asyncio
from datetime import UTC, date, datetime
from typing import Any

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from activities.money_tables import days, ledger
from activities.orders import Bought, Delivery, Order, Refused, Reservation
from activities.prices import Usage
from activities.receipt_rows import load_receipt
from workflows.models import PreparedBuild
from workflows.turns import CostRecord, Refusal

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


async def order(desk: Any, build: PreparedBuild, *, at: datetime = NOON, **more: Any) -> Order:
    path = await desk.transcript.path(build.head)
    given = {"question": "", "input_tokens": 10_000, "max_tokens": 2_000, "at": at} | more
    return Order(build_id=build.build_id, user=build.user, model=build.model, parent=path[-1], **given)


def delivery(**usage: int) -> Delivery:
    given = {"input_tokens": 9_000, "output_tokens": 100} | usage
    return Delivery(
        body='[{"type":"text","text":"Done."}]',
        usage=Usage(**given),
        stop_reason="end_turn",
        request_id="req_1",
    )


PRICE = 45_000
"""Worst case of `order`: 10,000 tokens in at $2.50 and 2,000 out at $10 a million."""


async def test_many_builds_never_pass_the_allowance(desk, make_desk):
    """Of 30 calls at once exactly those are admitted that the day can pay; the others hear busy."""
    builds = [await desk.prepare() for _ in range(30)]
    await desk.set_money(PRICE * 7 + PRICE // 2)
    workers = [desk, make_desk(), make_desk()]
    orders = [await order(desk, build) for build in builds]
    made = await asyncio.gather(*(workers[n % 3].purchases.reserve(each) for n, each in enumerate(orders)))
    refused = [each for each in made if isinstance(each, Refused)]

    assert sum(isinstance(each, Reservation) for each in made) == 7
    assert {each.reason for each in refused} == {Refusal.BUSY}
    assert (await desk.ledger.balance(desk.user, at=NOON)).left == PRICE // 2


async def test_settled_and_lost_money_stays_spent(desk, make_desk):
    """Whatever settles, is lost, released or superseded meanwhile, the day's sum holds at each step."""
    builds = [await desk.prepare() for _ in range(8)]
    await desk.set_money(PRICE * 16)
    workers = [desk, make_desk()]

    async def live(number: int, build: PreparedBuild) -> None:
        worker = workers[number % 2]
        for turn in range(8):
            made = await worker.purchases.reserve(await order(desk, build, question=f"[{turn}]"))
            assert not isinstance(made, Bought)
            balance = await desk.ledger.balance(desk.user, at=NOON)
            assert balance.settled + balance.reserved + balance.lost <= balance.allowance
            if isinstance(made, Refused):
                continue
            match (number + turn) % 4:
                case 0:
                    await worker.purchases.settle(made, delivery(output_tokens=250 * turn))
                case 1:
                    await worker.purchases.lose(made, why="test")
                case 2:
                    await worker.purchases.release(made)
                case _:
                    pass  # left open, as a dead worker does

    await asyncio.gather(*(live(number, build) for number, build in enumerate(builds)))
    entries = [entry for build in builds for entry in await desk.entries(build.build_id)]
    balance = await desk.ledger.balance(desk.user, at=NOON)

    assert {entry["state"] for entry in entries} >= {"settled", "lost", "released"}
    assert balance.settled + balance.reserved + balance.lost == sum(
        entry["reserved"] if entry["state"] == "reserved" else entry["cost"] for entry in entries
    )
    assert all(entry["cost"] <= entry["reserved"] for entry in entries)


@pytest.mark.parametrize(("money", "reason"), [(PRICE * 3, Refusal.SPENT), (PRICE * 9, None)])
async def test_a_build_that_had_its_last_calls_buys_only_on_fresh_money(desk, money: int, reason: Any):
    """Three calls' worth is what is left at a day's end; nine is more than that."""
    build = await desk.prepare()
    await desk.set_money(money)
    made = await desk.purchases.reserve(await order(desk, build, wound_down=True))

    assert reason is (made.reason if isinstance(made, Refused) else None)


async def test_the_end_of_a_budget_is_no_end_of_the_day(desk):
    """A build that had its last calls still spends what its own budget has left, as no sleep adds to it."""
    build = await desk.prepare(budget_microdollars=PRICE * 3)
    made = await desk.purchases.reserve(await order(desk, build, wound_down=True))

    assert isinstance(made, Reservation)


async def test_racing_attempts_of_one_call_buy_one_reply(desk, make_desk):
    """Ten attempts of one call on several workers leave one settled row and one reply."""
    build = await desk.prepare()
    workers = [desk, make_desk(), make_desk()]
    wanted = await order(desk, build)

    async def attempt(worker: Any) -> int | None:
        made = await worker.purchases.reserve(wanted)
        if isinstance(made, Bought):
            return made.reply_id
        assert isinstance(made, Reservation)
        try:
            return await worker.purchases.settle(made, delivery())
        except Exception:  # noqa: BLE001 superseded
            return None

    replies = await asyncio.gather(*(attempt(workers[n % 3]) for n in range(10)))
    states = [entry["state"] for entry in await desk.entries(build.build_id)]

    assert len(set(replies) - {None}) == 1
    assert states.count("settled") == 1
    assert states.count("reserved") == 0


async def test_settling_twice_is_settling_once(desk):
    """An attempt that did not hear its commit's answer settles again and gets the same reply."""
    build = await desk.prepare()
    made = await desk.purchases.reserve(await order(desk, build))
    first = await desk.purchases.settle(made, delivery())

    assert await desk.purchases.settle(made, delivery()) == first


@pytest.mark.parametrize(
    ("money", "others", "expected"),
    [(PRICE * 2, 0, None), (PRICE, PRICE, Refusal.BUSY), (PRICE - 1, 0, Refusal.SPENT)],
)
async def test_refusal_says_what_to_wait_for(desk, money: int, others: int, expected: Refusal | None):
    """Busy while other builds hold the money, spent when the day has none left for it."""
    build, other = await desk.prepare(), await desk.prepare()
    await desk.set_money(money)
    if others:
        assert isinstance(await desk.purchases.reserve(await order(desk, other)), Reservation)
    made = await desk.purchases.reserve(await order(desk, build))

    assert (made.reason if isinstance(made, Refused) else None) == expected


async def test_call_that_no_day_can_pay_is_too_dear(desk):
    """Sleeping would not help: the smallest reply costs more than a fresh day gives."""
    build = await desk.prepare()
    made = await desk.purchases.reserve(await order(desk, build, input_tokens=3_000_000))

    assert isinstance(made, Refused)
    assert made.reason == Refusal.TOO_DEAR
    assert (
        made.balance.worst_case > made.balance.allowance - made.balance.settled or made.balance.allowance == 0
    )


async def test_a_reply_above_its_reservation_says_by_how_much(desk):
    """All of it is booked; the build is told, and stops where it is far above."""
    build = await desk.prepare()
    made = await desk.purchases.reserve(await order(desk, build))
    reply_id = await desk.purchases.settle(made, delivery(input_tokens=10_000, output_tokens=100_000))
    (entry,) = await desk.entries(build.build_id)
    paid = await desk.ledger.paid(reply_id, user=desk.user, at=NOON)

    assert paid.overrun == entry["cost"] - entry["reserved"] > 0
    assert paid.balance.settled == entry["cost"]


@pytest.mark.parametrize("setting", [{}, {"timezone": "Asia/Tokyo"}])
async def test_day_is_the_users_and_a_call_stays_on_its_day(desk, setting: dict[str, str]):
    """The day follows server time and the user's zone; what settles later counts for the day of its call."""
    await desk.give(tier="bootstrapper", **setting)
    evening = datetime(2026, 11, 23, 14, 59, tzinfo=UTC)
    morning = datetime(2026, 11, 23, 15, 1, tzinfo=UTC)
    build = await desk.prepare(at=evening)
    made = await desk.purchases.reserve(await order(desk, build, at=evening))
    await desk.purchases.settle(made, delivery())
    after = await desk.ledger.balance(desk.user, at=morning, build_id=build.build_id)
    [entry] = await desk.entries(build.build_id)

    assert entry["day"] == date(2026, 11, 23)
    assert after.day == date(2026, 11, 24 if setting else 23)
    assert after.settled == (0 if setting else entry["cost"])
    assert after.build_spent == entry["cost"]
    if setting:
        assert after.wakes_at == datetime(2026, 11, 24, 15, tzinfo=UTC)


async def test_allowance_is_fixed_when_the_day_opens(desk):
    """What is spent today lowers tomorrow's allowance, never today's."""
    await desk.give(tier="bootstrapper")
    build = await desk.prepare()
    before = await desk.ledger.balance(desk.user, at=NOON)
    made = await desk.purchases.reserve(await order(desk, build))
    await desk.purchases.settle(made, delivery(input_tokens=10_000, output_tokens=1_000))
    [entry] = await desk.entries(build.build_id)
    today = await desk.ledger.balance(desk.user, at=NOON)
    tomorrow = await desk.ledger.balance(desk.user, at=NOON.replace(day=24))

    # $30 over the eight days from the 23rd to the renewal on the 1st.
    assert before.allowance == today.allowance == 30_000_000 // 8
    assert tomorrow.allowance == (30_000_000 - entry["cost"]) // 7


async def test_new_cycle_starts_unspent(desk):
    """What an earlier cycle spent does not count in a new one."""
    await desk.give(tier="bootstrapper", renews_on=date(2026, 11, 23))
    async with desk.engine.begin() as connection:
        build = await desk.prepare()
        row = {"build_id": build.build_id, "user_id": desk.user, "message_id": build.head, "state": "lost"}
        price = {"model": build.model, "price_id": "p", "reserved": 0, "cost": 29_000_000}
        await connection.execute(insert(ledger).values(**row, **price, day=date(2026, 11, 22)))

    assert (await desk.ledger.balance(desk.user, at=NOON)).allowance == 1_000_000
    assert (await desk.ledger.balance(desk.user, at=NOON.replace(day=22))).lost == 29_000_000


async def test_added_money_is_for_its_day(desk):
    """It raises today's allowance, not the cycle's; what is left of it is shared over the days after."""
    await desk.give(tier="bootstrapper")
    added = await desk.add(5_000_000)
    async with desk.engine.connect() as connection:
        row = (await connection.execute(select(days).filter_by(user_id=desk.user))).one()

    assert added.allowance == 30_000_000 // 8 + 5_000_000
    assert (row.allowance, row.added) == (30_000_000 // 8, 5_000_000)
    assert (await desk.ledger.balance(desk.user, at=NOON)).allowance == added.allowance
    assert (await desk.ledger.balance(desk.user, at=NOON.replace(day=24))).allowance == 35_000_000 // 7


async def test_no_more_can_be_taken_from_a_day_than_it_has(desk):
    """By plain SQL; the database refuses what would leave less than nothing."""
    await desk.give(tier="bootstrapper")
    before = await desk.add(5_000_000)
    taken = update(days).filter_by(user_id=desk.user).values(added=-before.allowance)
    with pytest.raises(IntegrityError, match="days_money_check"):
        async with desk.engine.begin() as connection:
            await connection.execute(taken)

    assert (await desk.ledger.balance(desk.user, at=NOON)).allowance == before.allowance


async def test_cost_is_told_and_not_written(desk):
    """`record_cost` gives the day's numbers and tells the watchers; twice is as good as once."""
    build = await desk.prepare()
    reply = await desk.call(build)
    request = CostRecord(build_id=build.build_id, user=build.user, head=reply.head)
    first = await desk.run(desk.ledger.record_cost, request, at=NOON)
    entries = await desk.entries(build.build_id)
    second = await desk.run(desk.ledger.record_cost, request, at=NOON)
    told = [event for event in await desk.events.read(build.build_id) if event.type == "agent.budget_updated"]

    assert first == second == reply.balance
    assert await desk.entries(build.build_id) == entries
    assert told[0].fields["left_microdollars"] == first.left
    assert told[0].fields["budget_pct"] == 0


async def test_receipt_shows_what_a_crash_cost(desk, control):
    """A receipt names settled, lost and open money apart, and leaves out what cost nothing."""
    build = await desk.prepare(idea="[[script:long turns=3]] Count.")
    await control.faults({"kind": "overloaded"}, {"kind": "cut", "after_events": 4, "after": 1})
    for _ in range(2):
        with pytest.raises(Exception, match="asked again"):
            await desk.call(build)
    reply = await desk.call(build)
    receipt = await load_receipt(desk.engine, build.build_id)

    assert receipt.spent_microdollars == reply.balance.build_spent
    assert receipt.lost_microdollars == sum(each.microdollars for each in receipt.waste) > 0
    assert [(each.turn, each.day) for each in receipt.waste] == [(1, NOON.date())]
    assert [(share.name, share.times) for share in receipt.by_day] == [("2026-11-23", 2)]
    assert all(share.name.startswith("anthropic/") for share in receipt.by_price)


async def test_ended_build_holds_no_money(desk):
    """The janitor frees what a terminated run left open, and shows it as lost."""
    build = await desk.prepare()
    await desk.purchases.reserve(await order(desk, build))

    assert await desk.purchases.lose_build(build.build_id) == 1
    assert await desk.purchases.lose_build(build.build_id) == 0
    assert [entry["state"] for entry in await desk.entries(build.build_id)] == ["lost"]
