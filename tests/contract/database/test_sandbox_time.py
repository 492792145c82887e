"""Sandbox time in the ledger: each second once, on its own day, out of what was set aside for it."""

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import update

from activities.money_tables import AHEAD, MODEL, SANDBOX, ledger
from activities.orders import Delivery, Order, Refused, Reservation
from activities.prices import Usage
from activities.purchases import Purchases
from activities.receipt_rows import load_receipt
from activities.sandbox_rows import SandboxRow, SandboxRows
from activities.sandbox_time import SandboxTime
from workflows.models import FinishBuild, PreparedBuild
from workflows.turns import Refusal

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
RATE = Decimal("30.25")
SLICE = 54_450
"""Half an hour at that rate."""
PRICE = 45_000
"""Worst case of an order: 10,000 tokens in at $2.50 and 2,000 out at $10 a million."""


@dataclass
class Meter:
    """The money side of a worker at a price of sandbox time, a build, and a clock that is set."""

    desk: Any
    build: PreparedBuild
    purchases: Purchases
    time: SandboxTime
    rows: SandboxRows
    clock: list[datetime] = field(default_factory=lambda: [NOON])

    def at(self, **later: float) -> datetime:
        """Set the clock so much after noon."""
        self.clock[0] = NOON + timedelta(**later)
        return self.clock[0]

    async def running(self, generation: int = 1, *, role: str = "build") -> SandboxRow:
        """A sandbox that runs from now on."""
        await self.time.renew(self.build.build_id)
        row = await self.rows.open(self.build.build_id, role=role, generation=generation)
        await self.time.begin(row, anew=True)
        return await self.rows.note(row, state="live", sandbox_id=f"sandbox-{row.build_id}-{generation}")

    async def reserve(self, text: str = "one") -> Reservation | Refused:
        """Reserve a call now."""
        parent = (await self.desk.transcript.path(self.build.head))[-1]
        made = await self.purchases.reserve(
            Order(
                build_id=self.build.build_id,
                user=self.build.user,
                model=self.build.model,
                parent=parent,
                question=f'[{{"type":"text","text":"{text}"}}]',
                input_tokens=10_000,
                max_tokens=2_000,
                at=self.clock[0],
            )
        )
        assert isinstance(made, Reservation | Refused)
        return made

    async def sums(self, kind: str = SANDBOX) -> dict[date, tuple[int, int]]:
        """Seconds and microdollars by day."""
        entries = await self.desk.entries(self.build.build_id)
        found: dict[date, tuple[int, int]] = {}
        for row in (row for row in entries if row["kind"] == kind):
            seconds, cost = found.get(row["day"], (0, 0))
            found[row["day"]] = (seconds + row["microseconds"] // 1_000_000, cost + row["cost"])
        return found

    async def ahead(self) -> int:
        """What is set aside for time to come."""
        entries = await self.desk.entries(self.build.build_id)
        return sum(row["reserved"] for row in entries if (row["kind"], row["state"]) == (AHEAD, "reserved"))


@pytest.fixture
def make_meter(make_desk, settings):
    """Makes the money side of a worker, for a build of a user who may have others."""

    async def make(desk: Any = None, price: Decimal = RATE) -> Meter:
        own = settings.model_copy(update={"sandbox_microdollars_per_second": price})
        desk = desk or make_desk(sandbox_microdollars_per_second=price)
        build, clock = await desk.prepare(), [NOON]
        time = SandboxTime(desk.engine, own, now=lambda: clock[0])
        purchases = Purchases(desk.engine, desk.transcript, own)
        return Meter(desk, build, purchases, time, SandboxRows(desk.engine), clock)

    return make


@pytest.fixture
async def meter(make_meter) -> Meter:
    """One of them."""
    return await make_meter()


def delivery(output: int = 100) -> Delivery:
    usage = Usage(input_tokens=9_000, output_tokens=output)
    return Delivery(
        body='[{"type":"text","text":"Done."}]', usage=usage, stop_reason="end_turn", request_id="r"
    )


async def test_time_is_booked_from_creation_to_the_pause(meter: Meter):
    """What runs is paid by the second, what sleeps costs nothing, and nothing stays set aside for it."""
    row = await meter.running()
    meter.at(seconds=100)
    await meter.time.end(row, was_running=True)
    meter.at(hours=3)
    await meter.time.settle(meter.build.build_id)
    await meter.time.begin(row, anew=True)
    meter.at(hours=3, seconds=60)
    await meter.time.end(row)

    assert {NOON.date(): (160, 4_840)} == await meter.sums()
    assert 0 == await meter.ahead()


async def test_a_second_is_booked_once_whoever_comes_by(meter: Meter):
    """Attempts side by side, late ones and another sandbox of the build move each mark forward only."""
    await meter.running(1)
    meter.at(seconds=40)
    check = await meter.running(2, role="check")
    meter.at(seconds=100)
    await asyncio.gather(*(meter.time.renew(meter.build.build_id) for _ in range(8)), meter.reserve())
    meter.at(seconds=50)
    await meter.reserve("a late attempt")
    meter.at(seconds=100)
    await meter.time.end(check)

    assert {NOON.date(): (160, 4_840)} == await meter.sums()
    assert 1 == len([row for row in await meter.desk.entries(meter.build.build_id) if row["kind"] == SANDBOX])


async def test_no_part_of_a_second_is_lost_or_rounded_twice(meter: Meter):
    """Many short bookings come to what one would: the row keeps the time, and its cost is that of all."""
    row = await meter.running()
    for step in range(1, 30):
        meter.at(microseconds=333_333 * step)
        await meter.time.renew(meter.build.build_id)
    meter.at(seconds=10)
    await meter.time.end(row)

    assert {NOON.date(): (10, 303)} == await meter.sums()


@pytest.mark.parametrize(("zone", "hours"), [("UTC", 12), ("Pacific/Kiritimati", 22), ("Etc/GMT+12", 24)])
async def test_each_second_goes_to_its_own_day(meter: Meter, zone: str, hours: int):
    """A stretch over the user's midnight is shared by it."""
    await meter.desk.set_user(timezone=zone)
    meter.at(hours=hours, seconds=-30)
    row = await meter.running()
    meter.at(hours=hours, seconds=70)
    await meter.time.end(row)
    today = date(2026, 11, 23) + timedelta(days=zone == "Pacific/Kiritimati")

    assert {today: (30, 908), today + timedelta(days=1): (70, 2_118)} == await meter.sums()


async def test_time_after_a_move_west_counts_on_the_day_that_is_open(meter: Meter):
    """A user's day never goes back, so what today costs is seen in today's balance."""
    await meter.desk.set_user(timezone="Pacific/Kiritimati")
    row = await meter.running()
    await meter.reserve()
    await meter.desk.set_user(timezone="Etc/GMT+12")
    meter.at(seconds=10)
    await meter.time.end(row)

    assert [NOON.date() + timedelta(days=1)] == list(await meter.sums())


async def test_a_session_that_ran_out_is_paid_to_its_end(meter: Meter):
    """The provider pauses what nobody lengthens; an outage of hours costs an hour."""
    await meter.running()
    meter.at(hours=2)
    await meter.reserve()
    first = await meter.sums()
    meter.at(hours=5)
    ended = await meter.time.end_expired()
    meter.at(hours=9)
    again = await meter.time.end_expired()

    assert {NOON.date(): (3_600, 108_900)} == first == await meter.sums()
    assert (1, 0) == (min(ended, 1), again)


async def test_a_lengthened_session_is_paid_on(meter: Meter):
    """Whoever lengthens it says until when it lives."""
    row = await meter.running()
    meter.at(minutes=50)
    await meter.time.lengthened(row.sandbox_id, timedelta(hours=1))
    meter.at(hours=3)
    await meter.time.renew(meter.build.build_id)

    assert {NOON.date(): (110 * 60, 199_650)} == await meter.sums()


async def test_what_may_never_have_been_made_costs_nothing_until_it_has_an_id(meter: Meter):
    """A creation that an outage held up is paid from the attempt that made it."""
    row = await meter.rows.open(meter.build.build_id, role="build", generation=1)
    await meter.time.begin(row, anew=True)
    meter.at(minutes=20)
    await meter.reserve()
    await meter.time.begin(row, anew=True)
    meter.at(minutes=21)
    await meter.rows.note(row, state="live", sandbox_id="made at last")
    await meter.time.renew(meter.build.build_id)

    assert {NOON.date(): (60, 1_815)} == await meter.sums()


async def test_a_retry_that_finds_the_sandbox_keeps_the_older_mark(meter: Meter):
    """The attempt that made it died before it could say so: its seconds are paid too."""
    row = await meter.rows.open(meter.build.build_id, role="build", generation=1)
    await meter.time.begin(row, anew=True)
    meter.at(seconds=60)
    await meter.time.begin(row, anew=False)
    named = await meter.rows.note(row, state="live", sandbox_id="found")
    await meter.time.end(named)

    assert {NOON.date(): (60, 1_815)} == await meter.sums()


async def test_a_slice_is_set_aside_with_each_call(meter: Meter):
    """What is used leaves it, and the next call fills it up again; a pause gives the rest back."""
    await meter.desk.set_money(1_000_000)
    made = await meter.reserve()
    assert isinstance(made, Reservation)
    await meter.purchases.settle(made, delivery())
    row = await meter.running()
    meter.at(seconds=600)
    await meter.time.renew(meter.build.build_id)
    await meter.desk.set_money(100_000)
    meter.at(seconds=1_000)
    refused = await meter.reserve("two")
    left = await meter.ahead()
    await meter.time.end(row, was_running=True)

    assert isinstance(refused, Refused)
    assert refused.reason is Refusal.SPENT
    assert SLICE - 12_100 == left
    assert 0 == await meter.ahead()


async def test_a_slice_that_does_not_fit_sends_the_build_to_sleep(meter: Meter):
    """A day that could pay the call but not the sandbox after it is spent; one microdollar more is enough."""
    await meter.desk.set_money(PRICE + SLICE - 1)
    short = await meter.reserve()
    await meter.desk.set_money(PRICE + SLICE)
    enough = await meter.reserve()

    assert isinstance(short, Refused)
    assert short.reason is Refusal.SPENT
    assert isinstance(enough, Reservation)


async def test_another_build_cannot_spend_the_slice(meter: Meter, make_meter):
    """What one build holds for its sandbox keeps another busy, not asleep, until it is given back."""
    other = await make_meter(meter.desk)
    await meter.desk.set_money(2 * (PRICE + SLICE) - 1)
    mine = await meter.reserve()
    assert isinstance(mine, Reservation)
    theirs = await other.reserve()
    await meter.purchases.release(mine)
    await meter.time.settle(meter.build.build_id)

    assert isinstance(theirs, Refused)
    assert theirs.reason is Refusal.BUSY
    assert isinstance(await other.reserve(), Reservation)


async def test_a_slice_is_held_over_midnight(meter: Meter, make_meter):
    """Time set aside on one day may be used on the next, whose money another build must leave for it."""
    other = await make_meter(meter.desk)
    tomorrow = NOON.date() + timedelta(days=1)
    await meter.desk.set_money(1_000_000)
    await meter.desk.set_money(PRICE + 2 * SLICE - 1, day=tomorrow)
    meter.at(hours=12, seconds=-60)
    await meter.running()
    await meter.reserve()
    other.at(hours=12, seconds=10)
    held = await other.reserve()

    assert isinstance(held, Refused)
    assert held.reason is Refusal.BUSY


async def test_a_day_that_is_never_enough_for_call_and_slice_is_too_dear(meter: Meter):
    """No sleep would help: the founder is asked."""
    await meter.desk.set_user(cycle_budget=30 * (PRICE + SLICE - 1))
    await meter.desk.set_money(0)
    made = await meter.reserve()

    assert isinstance(made, Refused)
    assert made.reason is Refusal.TOO_DEAR


async def test_free_time_is_not_booked(make_meter):
    """The local stand-in costs nothing and leaves no row."""
    meter = await make_meter(price=Decimal(0))
    await meter.desk.set_money(PRICE)
    row = await meter.running()
    meter.at(hours=1)
    made = await meter.reserve()
    await meter.time.end(row)

    assert isinstance(made, Reservation)
    assert [MODEL] == [each["kind"] for each in await meter.desk.entries(meter.build.build_id)]


async def test_receipt_and_balance_show_it(meter: Meter):
    """Its own line, by phase and day; every breakdown still comes to the ledger."""
    row = await meter.running()
    meter.at(seconds=100)
    made = await meter.reserve()
    assert isinstance(made, Reservation)
    await meter.purchases.settle(made, delivery())
    async with meter.desk.engine.begin() as connection:
        await connection.execute(update(ledger).where(ledger.c.id == made.id).values(phase="1: shell"))
    meter.at(seconds=200)
    await meter.time.end(row)
    receipt = await load_receipt(meter.desk.engine, meter.build.build_id)
    balance = await meter.desk.ledger.balance(meter.desk.user, at=NOON, build_id=meter.build.build_id)

    assert receipt is not None
    assert [("(no phase)", 100.0, 3_025), ("1: shell", 100.0, 3_025)] == [
        (each.phase if each.phase.startswith("1") else "(no phase)", each.seconds, each.microdollars)
        for each in receipt.sandbox_time
    ]
    assert {"sandbox time": 6_050} == {
        each.name: each.microdollars for each in receipt.by_tool if each.name == "sandbox time"
    }
    for name in ("by_phase", "by_tool", "by_day", "by_price"):
        shares = getattr(receipt, name)
        assert receipt.spent_microdollars == sum(each.microdollars for each in shares)
        assert 1 == sum(each.times for each in shares)
    assert 6_050 == receipt.sandbox_microdollars == balance.build_sandbox
    assert receipt.spent_microdollars == balance.build_spent == balance.settled


async def test_the_end_of_a_build_gives_the_slice_back(meter: Meter):
    """`finish_build` books up to the end and tells the sum; what a preview uses later is still booked."""
    await meter.running()
    await meter.reserve()
    async with asyncio.timeout(20):
        spent = await meter.desk.run(
            meter.desk.builds.finish_build,
            FinishBuild(build_id=meter.build.build_id, status="ready", outcome="completed"),
            at=NOON + timedelta(seconds=100),
        )
    at_the_end = (await meter.sums())[NOON.date()]
    paid = sum(row["cost"] for row in await meter.desk.entries(meter.build.build_id))
    meter.at(hours=2)
    await meter.time.end_expired()

    assert 100 == at_the_end[0]
    assert spent == paid > at_the_end[1]
    assert 0 == await meter.ahead()
    assert {NOON.date(): (3_600, 108_900)} == await meter.sums()


async def test_a_stray_is_paid_through_the_row_that_asked_for_it(meter: Meter):
    """Its metadata lead to the row, which learns the id of what was killed."""
    row = await meter.rows.open(meter.build.build_id, role="build", generation=1)
    await meter.time.begin(row, anew=True)
    metadata = {"build": meter.build.build_id, "role": "build", "generation": "1"}
    asked = await meter.rows.that_asked(metadata)
    assert asked is not None
    named = await meter.rows.note(asked, state="gone", sandbox_id="stray")
    meter.at(seconds=100)
    await meter.time.end(named)

    assert {NOON.date(): (100, 3_025)} == await meter.sums()
    assert await meter.rows.that_asked(metadata | {"generation": "2"}) is None
    assert await meter.rows.that_asked({"build": meter.build.build_id}) is None


@pytest.mark.parametrize("seed", range(3))
async def test_bookings_that_die_lose_nothing(meter: Meter, seed: int):
    """Cut off anywhere, a booking moves mark and money together: at the end each second was paid once."""
    chance = random.Random(seed)
    row = await meter.running()
    for step in range(1, 40):
        meter.at(seconds=7 * step)
        books = chance.random() < 0.5
        work = meter.time.renew(meter.build.build_id) if books else meter.reserve(str(step % 3))
        task = asyncio.create_task(work)
        for _ in range(chance.randrange(60)):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    meter.at(seconds=280)
    await meter.time.end(row)

    assert {NOON.date(): (280, 8_470)} == await meter.sums()
