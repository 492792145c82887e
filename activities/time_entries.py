"""Sandbox time in rows of the ledger: booked up to a moment, set aside ahead. SQL only.

A caller's transaction holds `lock_purchases` of the build, so that one at a time moves its marks.
"""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Self

from sqlalchemy import RowMapping, and_, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from activities.billing_cycle import by_day, local_day
from activities.days import Day, today
from activities.money_tables import AHEAD, MODEL, SANDBOX, ledger, users
from activities.sandbox_rows import is_row
from activities.settings import Settings
from activities.tables import builds, sandboxes

SLICE = timedelta(minutes=30)
"""Time that is set aside ahead: for the longest tool call, and to save and pause after it."""
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Rate:
    """What a running sandbox costs."""

    price: Decimal
    """Microdollars a second."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Give the rate that is set."""
        return cls(settings.price_of_sandbox)

    @property
    def is_free(self) -> bool:
        """Whether there is nothing to book."""
        return self.price == 0

    @property
    def price_id(self) -> str:
        """Names the price in rows of the ledger."""
        return f"sandbox/{self.price.normalize():f}-a-second"

    @property
    def slice(self) -> int:
        """What is set aside ahead, microdollars."""
        return self.cost_of(SLICE // _MICROSECOND)

    def cost_of(self, microseconds: int) -> int:
        """Price a time, microdollars, rounded up."""
        return math.ceil(self.price * microseconds / 1_000_000)


async def book_time(connection: AsyncConnection, build_id: str, at: datetime, rate: Rate) -> None:
    """Book the time of a build's running sandboxes up to a moment, or to where their sessions end.

    The mark of each moves with its row of the ledger; what the time cost leaves what was set aside.
    """
    if rate.is_free:
        return
    spent = 0
    for row in await _running(connection, build_id):
        until, zone = min(at, row["runs_until"]), row["timezone"]
        now, named = await today(connection, row["user_id"], at, timezone=zone), local_day(at, timezone=zone)
        for day, used in by_day(row["billed_until"], until, timezone=zone):
            booked = now if day == named else day
            spent += await _add(connection, row, day=booked, microseconds=used // _MICROSECOND, rate=rate)
        if until > row["billed_until"]:
            await connection.execute(
                update(sandboxes)
                .where(is_row(row["build_id"], row["role"], row["generation"]))
                .values(billed_until=until)
            )
    if spent:
        left = func.greatest(0, ledger.c.reserved - spent)
        await connection.execute(update(ledger).where(_ahead_of(build_id)).values(reserved=left))


async def set_ahead(connection: AsyncConnection, build_id: str, day: Day, amount: int, at: datetime) -> None:
    """Set so much aside for sandbox time, in place of what was."""
    values: dict[str, Any] = {
        "state": "reserved",
        "day": day.day,
        "reserved": amount,
        "opened_at": at,
        "closed_at": None,
    }
    row = insert(ledger).values(
        build_id=build_id, user_id=day.user.id, kind=AHEAD, model="", price_id="", **values
    )
    await connection.execute(
        row.on_conflict_do_update(
            index_elements=["build_id"], index_where=text(f"kind = '{AHEAD}'"), set_=values
        )
    )


async def release_ahead(connection: AsyncConnection, build_id: str) -> None:
    """Give back what a build had set aside for sandbox time."""
    await connection.execute(
        update(ledger)
        .where(_ahead_of(build_id), ledger.c.state == "reserved")
        .values(state="released", closed_at=func.now())
    )


async def is_any_running(connection: AsyncConnection, build_id: str) -> bool:
    """Tell whether a build has a sandbox that costs money."""
    query = select(sandboxes.c.generation).where(
        sandboxes.c.build_id == build_id, sandboxes.c.billed_until.is_not(None)
    )
    return (await connection.execute(query.limit(1))).first() is not None


async def _running(connection: AsyncConnection, build_id: str) -> list[RowMapping]:
    phase = (
        select(ledger.c.phase)
        .where(ledger.c.build_id == build_id, ledger.c.kind == MODEL)
        .order_by(ledger.c.id.desc())
        .limit(1)
    )
    query = (
        select(
            sandboxes,
            builds.c.user_id,
            users.c.timezone,
            func.coalesce(phase.scalar_subquery(), "").label("phase"),
        )
        .join(builds, builds.c.id == sandboxes.c.build_id)
        .join(users, users.c.id == builds.c.user_id)
        # Without an id it may never have been made; the next attempt knows.
        .where(
            sandboxes.c.build_id == build_id,
            sandboxes.c.billed_until.is_not(None),
            sandboxes.c.sandbox_id != "",
        )
        .order_by(sandboxes.c.role, sandboxes.c.generation)
    )
    return list((await connection.execute(query)).mappings())


async def _add(
    connection: AsyncConnection, row: RowMapping, *, day: Any, microseconds: int, rate: Rate
) -> int:
    """Add time to its row of the ledger; gives what that cost."""
    key = {"build_id": row["build_id"], "day": day, "phase": row["phase"], "price_id": rate.price_id}
    query = select(ledger.c.id, ledger.c.microseconds, ledger.c.cost).filter_by(**key, kind=SANDBOX)
    found = (await connection.execute(query)).one_or_none()
    total = microseconds + (found.microseconds if found else 0)
    values = {"microseconds": total, "cost": rate.cost_of(total), "closed_at": func.now()}
    if found is not None:
        await connection.execute(update(ledger).where(ledger.c.id == found.id).values(values))
        return rate.cost_of(total) - found.cost
    fixed = {"kind": SANDBOX, "state": "settled", "model": "", "reserved": 0, "user_id": row["user_id"]}
    opened = {"opened_at": row["billed_until"]}
    await connection.execute(insert(ledger).values(**key, **fixed, **opened, **values))
    return rate.cost_of(total)


def _ahead_of(build_id: str) -> Any:
    return and_(ledger.c.build_id == build_id, ledger.c.kind == AHEAD)
