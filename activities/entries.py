"""Rows of the ledger: reserved, then settled, lost or released. SQL only, inside the caller's transaction."""

from dataclasses import replace

from sqlalchemy import RowMapping, exists, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from activities.days import Day
from activities.money_tables import MODEL, ledger
from activities.orders import Bought, Order
from activities.prices import Usage, price_of
from activities.tables import builds

INPUT = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens")
"""The columns that are known once a stream has begun."""
PURCHASES = 0x4E53
"""Advisory locks of builds that reserve."""


async def bought(connection: AsyncConnection, message_id: int) -> Bought | None:
    """Give the reply to a question if one was settled."""
    query = select(ledger.c.reply_id).filter_by(message_id=message_id, state="settled")
    reply_id = (await connection.execute(query)).scalar_one_or_none()
    return Bought(reply_id=reply_id) if reply_id else None


async def open_entry(
    connection: AsyncConnection, order: Order, day: Day, values: dict[str, int | str]
) -> int:
    """Reserve: write a row of the ledger and give its id."""
    made = await connection.execute(
        insert(ledger)
        .values(
            build_id=order.build_id,
            user_id=order.user,
            day=day.day,
            state="reserved",
            model=order.model,
            opened_at=order.at,
            turn=order.turn,
            attempt=order.attempt,
            phase=order.phase,
            plan_item=order.plan_item,
            **values,
        )
        .returning(ledger.c.id)
    )
    return made.scalar_one()


async def lock_purchases(connection: AsyncConnection, build_id: str) -> None:
    """Let one attempt of a build reserve at a time: those on either side of midnight meet at no day's row."""
    await connection.execute(select(func.pg_advisory_xact_lock(PURCHASES, func.hashtext(build_id))))


async def lock_entry(connection: AsyncConnection, reservation_id: int) -> RowMapping:
    """Lock a row of the ledger until the transaction ends."""
    query = select(ledger).filter_by(id=reservation_id).with_for_update()
    return (await connection.execute(query)).mappings().one()


async def lose_open(connection: AsyncConnection, build_id: str) -> int:
    """Mark every open reservation of a call of a build as lost; gives how many there were."""
    query = select(ledger).filter_by(build_id=build_id, state="reserved", kind=MODEL).with_for_update()
    entries = (await connection.execute(query)).mappings().all()
    for entry in entries:
        await lose_entry(connection, entry, why="its attempt never came back")
    return len(entries)


async def lose_entry(
    connection: AsyncConnection, entry: RowMapping, *, why: str, used: Usage | None = None
) -> None:
    """Price what was used; unknown: the input as the provider counted it and all the output it could give.

    Where it counted nothing, the worst case.
    """
    seen = Usage(**{name: entry[name] for name in INPUT})
    if used is None and seen.input_tokens:
        used = replace(seen, output_tokens=entry["max_tokens"])
    values: dict[str, int | str] = {"cost": entry["reserved"]}
    if used is not None:
        price = price_of(entry["model"], used, at=entry["opened_at"])
        values = usage_values(used) | {"cost": price.microdollars}
    await close_entry(connection, entry["id"], state="lost", note=why, **values)


async def is_worst_lost(connection: AsyncConnection, message_id: int) -> bool:
    """Tell whether an attempt at a question was lost at its worst price, nothing having been heard of it."""
    unheard = exists().where(
        ledger.c.message_id == message_id, ledger.c.state == "lost", ledger.c.input_tokens == 0
    )
    return (await connection.execute(select(unheard))).scalar_one()


async def close_entry(connection: AsyncConnection, entry_id: int, **values: int | str) -> None:
    """Write a row's last state."""
    await connection.execute(
        update(ledger).where(ledger.c.id == entry_id).values(**values, closed_at=func.now())
    )


async def correct_entry(connection: AsyncConnection, entry: RowMapping, **values: int | str) -> None:
    """Write what a row that was given up as lost cost in truth; the sum of a build that has ended follows."""
    await close_entry(connection, entry["id"], **values)
    spent = select(func.sum(ledger.c.cost)).filter_by(build_id=entry["build_id"]).scalar_subquery()
    ended = (builds.c.id == entry["build_id"]) & builds.c.finished_at.is_not(None)
    await connection.execute(update(builds).where(ended).values(spent=spent))


def usage_values(usage: Usage) -> dict[str, int | str]:
    """Give the columns of a usage."""
    return {name: getattr(usage, name) for name in (*INPUT, "output_tokens")}
