"""The row of a user's day: opened with its allowance, locked while money is reserved, read as a Balance."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from activities.billing_cycle import cycle_of, daily_allowance, local_day, midnight_of, next_working_day
from activities.money_tables import AHEAD, SANDBOX, days, ledger, top_ups
from activities.tables import builds
from activities.users import User
from workflows.turns import Balance

DATES_APART = 2
"""How many days the dates of two time zones may be apart: there are 26 hours from -12 to +14."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """A user's day and the money in it, microdollars."""

    user: User
    day: date
    allowance: int
    """Fixed when the day was opened."""
    added: int
    """Added by hand since."""

    @property
    def money(self) -> int:
        """All that it gives, microdollars."""
        return self.allowance + self.added

    @property
    def fresh(self) -> int:
        """What a day of an unspent cycle gives; microdollars."""
        cycle = cycle_of(self.day, renews_on=self.user.renews_on)
        return self.user.cycle_budget // (cycle.renewal - cycle.start).days


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """What the ledger says of a day, microdollars."""

    settled: int
    reserved: int
    lost: int
    reserved_by_others: int
    """By other builds of the user."""
    ahead: int = 0
    """The part of it that this build set aside for sandbox time."""


async def open_day(connection: AsyncConnection, user: User, at: datetime) -> Day:
    """Lock the user's day until the transaction ends, opening it with its allowance if it is new.

    `at` is the server's time of the activity, never this machine's clock.
    """
    day = await today(connection, user.id, at, timezone=user.timezone)
    query = select(days.c.allowance, days.c.added).filter_by(user_id=user.id, day=day).with_for_update()
    found = (await connection.execute(query)).one_or_none()
    if found is None:
        allowance = await _allowance(connection, user, day)
        await connection.execute(
            insert(days).values(user_id=user.id, day=day, allowance=allowance).on_conflict_do_nothing()
        )
        found = (await connection.execute(query)).one()
    return Day(user=user, day=day, allowance=found.allowance, added=found.added)


async def top_up(connection: AsyncConnection, day: Day, microdollars: int, *, key: str) -> None:
    """Add money to an open day, once a key; the lock on the day lets one attempt in at a time."""
    row = insert(top_ups).values(key=key, user_id=day.user.id, day=day.day, amount=microdollars)
    noted = await connection.execute(row.on_conflict_do_nothing().returning(top_ups.c.key))
    if noted.one_or_none() is not None:
        await connection.execute(
            update(days)
            .where(days.c.user_id == day.user.id, days.c.day == day.day)
            .values(added=days.c.added + microdollars)
        )


async def share_out_again(connection: AsyncConnection, user: User, at: datetime) -> None:
    """Give the user's day, where it is open, the allowance that the user's row says by now."""
    day = await look_at_day(connection, user, at)
    allowance = max(await _allowance(connection, user, day.day), -day.added)
    await connection.execute(
        update(days).where(days.c.user_id == user.id, days.c.day == day.day).values(allowance=allowance)
    )


async def look_at_day(connection: AsyncConnection, user: User, at: datetime) -> Day:
    """Give the user's day without locking or opening it."""
    day = await today(connection, user.id, at, timezone=user.timezone)
    query = select(days.c.allowance, days.c.added).filter_by(user_id=user.id, day=day)
    found = (await connection.execute(query)).one_or_none()
    if found is None:
        return Day(user=user, day=day, allowance=await _allowance(connection, user, day), added=0)
    return Day(user=user, day=day, allowance=found.allowance, added=found.added)


def left_of(day: Day, sums: Sums) -> int:
    """Give what a build may reserve of a day; what it holds for sandbox time is its own."""
    return day.money - sums.settled - sums.lost - sums.reserved + sums.ahead


async def add_up(connection: AsyncConnection, day: Day, *, build_id: str) -> Sums:
    """Add up the ledger of a day; sandbox time that was set aside yesterday may be used today."""
    today, own = ledger.c.day == day.day, ledger.c.build_id == build_id
    ahead = (ledger.c.state == "reserved") & (ledger.c.kind == AHEAD)
    open_ones = ((ledger.c.state == "reserved") & today) | ahead
    query = select(
        _sum(ledger.c.cost, today & (ledger.c.state == "settled")).label("settled"),
        _sum(ledger.c.reserved, open_ones).label("reserved"),
        _sum(ledger.c.cost, today & (ledger.c.state == "lost")).label("lost"),
        _sum(ledger.c.reserved, open_ones & ~own).label("by_others"),
        _sum(ledger.c.reserved, ahead & own).label("ahead"),
    ).where(ledger.c.user_id == day.user.id, ledger.c.day.between(day.day - timedelta(days=1), day.day))
    found = (await connection.execute(query)).one()
    return Sums(
        settled=int(found.settled),
        reserved=int(found.reserved),
        lost=int(found.lost),
        reserved_by_others=int(found.by_others),
        ahead=int(found.ahead),
    )


async def balance_of(
    connection: AsyncConnection, day: Day, *, build_id: str, worst_case: int = 0, sums: Sums | None = None
) -> Balance:
    """Read a day's balance, or tell the one that `sums` gave, and what the build spent on all its days."""
    sums = sums or await add_up(connection, day, build_id=build_id)
    spent = select(
        _sum(ledger.c.cost).label("all"), _sum(ledger.c.cost, ledger.c.kind == SANDBOX).label("sandbox")
    ).filter_by(build_id=build_id)
    by_build = (await connection.execute(spent)).one()
    return Balance(
        day=day.day,
        allowance=day.money,
        settled=sums.settled,
        reserved=sums.reserved,
        lost=sums.lost,
        worst_case=worst_case,
        wakes_at=await _wakes_at(connection, day, worst_case),
        build_spent=int(by_build.all),
        build_sandbox=int(by_build.sandbox),
        build_left=await budget_left(connection, build_id),
    )


async def today(connection: AsyncConnection, user: str, at: datetime, *, timezone: str) -> date:
    """Give the user's day at a moment; it never goes back to one before a day that was opened.

    So whoever is moved from one time zone to another has each date's allowance once and no date's twice.
    """
    day = local_day(at, timezone=timezone)
    newest = select(func.max(days.c.day)).where(
        days.c.user_id == user, days.c.day <= day + timedelta(days=DATES_APART)
    )
    return max(day, (await connection.execute(newest)).scalar_one() or day)


async def budget_left(connection: AsyncConnection, build_id: str) -> int | None:
    """Give what a build may still spend in all, microdollars; none where only its days limit it."""
    limit = select(builds.c.spend_limit).filter_by(id=build_id)
    if (most := (await connection.execute(limit)).scalar_one_or_none()) is None:
        return None
    spent = select(_sum(ledger.c.cost)).filter_by(build_id=build_id)
    return max(0, most - int((await connection.execute(spent)).scalar_one()))


async def count_sleepers(connection: AsyncConnection, midnight: datetime, *, but: str) -> int:
    """Count the builds that are due in the hour from a midnight on, and `but`, which is not asleep yet."""
    due = builds.c.wake_at.between(midnight, midnight + timedelta(hours=1))
    others = select(func.count()).where(builds.c.status == "sleeping", due, builds.c.id != but)
    return 1 + (await connection.execute(others)).scalar_one()


async def _wakes_at(connection: AsyncConnection, day: Day, worst_case: int) -> datetime:
    """Give the midnight after which the cycle may pay for a call again; what is reserved may come back."""
    cycle = cycle_of(day.day, renews_on=day.user.renews_on)
    spent = await _spent(connection, day.user, cycle.start, before=cycle.renewal)
    added = await _added(connection, day.user, cycle.start, before=cycle.renewal)
    left = day.user.cycle_budget + added - spent
    awake = next_working_day(day.day, renewal=cycle.renewal, left=left, needed=worst_case)
    return midnight_of(awake, timezone=day.user.timezone)


async def _spent(connection: AsyncConnection, user: User, start: date, *, before: date) -> int:
    query = select(_sum(ledger.c.cost)).where(
        ledger.c.user_id == user.id, ledger.c.day >= start, ledger.c.day < before
    )
    return int((await connection.execute(query)).scalar_one())


async def _added(connection: AsyncConnection, user: User, start: date, *, before: date) -> int:
    query = select(_sum(days.c.added)).where(
        days.c.user_id == user.id, days.c.day >= start, days.c.day < before
    )
    return int((await connection.execute(query)).scalar_one())


async def _allowance(connection: AsyncConnection, user: User, day: date) -> int:
    """Share out the cycle's money; what was added by hand earlier in the cycle paid for its own day."""
    cycle = cycle_of(day, renews_on=user.renews_on)
    owed = _sum(ledger.c.cost) + _sum(ledger.c.reserved, ledger.c.state == "reserved")
    spent = select(owed).where(ledger.c.user_id == user.id, ledger.c.day >= cycle.start, ledger.c.day < day)
    return daily_allowance(
        cycle_budget=user.cycle_budget + await _added(connection, user, cycle.start, before=day),
        spent=int((await connection.execute(spent)).scalar_one()),
        days_left=(cycle.renewal - day).days,
    )


def _sum(amount: ColumnElement[int], condition: ColumnElement[bool] | None = None) -> ColumnElement[int]:
    total = func.sum(amount)
    return func.coalesce(total.filter(condition) if condition is not None else total, 0)
