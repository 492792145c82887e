"""Buying a reply once: reserve the worst price, settle what it cost, keep what a crash lost.

Owns the ledger's states; knows no vendor. All of a user's builds meet at the lock on their day's row, and a
build has one open reservation at most: a newer call marks what an older one left open as lost.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio.exceptions import ApplicationError

from activities.days import (
    Day,
    Sums,
    add_up,
    balance_of,
    budget_left,
    count_sleepers,
    left_of,
    look_at_day,
    open_day,
)
from activities.entries import (
    INPUT,
    bought,
    close_entry,
    correct_entry,
    is_worst_lost,
    lock_entry,
    lock_purchases,
    lose_entry,
    lose_open,
    open_entry,
    usage_values,
)
from activities.money_tables import ledger
from activities.offers import offer
from activities.orders import Bought, Delivery, Order, Refused, Reservation
from activities.prices import Usage, context_ceiling, dearest, price_of
from activities.rows import Row
from activities.settings import Settings
from activities.time_entries import Rate, book_time, set_ahead
from activities.transcript import Transcript
from activities.users import is_agent_on, load_user
from workflows.budget import stage_of
from workflows.errors import FailureType
from workflows.state import Stage
from workflows.turns import Balance, Refusal

CONTEXT_SHARE = 15
"""Percent of a day's money that the input of one call may cost at its dearest."""


class Purchases:
    """The two transactions around a call to the model, and what happens when the second never comes."""

    def __init__(self, engine: AsyncEngine, transcript: Transcript, settings: Settings) -> None:
        self._engine = engine
        self._transcript = transcript
        self._settings = settings
        self._rate = Rate.of(settings)

    async def find(self, parent: Row, question: str) -> Bought | None:
        """Give the reply to a question if it was bought before."""
        async with self._engine.connect() as connection:
            message_id = await self._find_question(connection, parent, question)
            return await bought(connection, message_id) if message_id else None

    async def tokens_up_to(self, reply_id: int, *, model: str) -> int:
        """Give the tokens of a reply and of all before it, as the provider counted them; 0: not known.

        Each model counts in its own way: what another was sent says little.
        """
        query = select(ledger.c.input_tokens + ledger.c.output_tokens).filter_by(
            reply_id=reply_id, model=model
        )
        async with self._engine.connect() as connection:
            return (await connection.execute(query)).scalar_one_or_none() or 0

    async def of_others(self, path: Sequence[Row], *, model: str) -> frozenset[int]:
        """Give the replies of a path that were not bought of a model; of which is not known: not of it."""
        replies = {row.id for row in path if row.role == "assistant"}
        query = select(ledger.c.reply_id).where(ledger.c.reply_id.in_(replies), ledger.c.model == model)
        async with self._engine.connect() as connection:
            return frozenset(replies.difference((await connection.execute(query)).scalars()))

    async def ceiling(self, user: str, model: str, *, max_tokens: int, at: datetime) -> int:
        """Give the most input tokens that a call of this user should hold; above it, open a new epoch."""
        async with self._engine.connect() as connection:
            day = await look_at_day(connection, await load_user(connection, user), at)
        money = max(day.money, day.fresh) * CONTEXT_SHARE // 100
        return context_ceiling(model, money=money, max_tokens=max_tokens, at=at)

    async def reserve(self, order: Order) -> Reservation | Bought | Refused:
        """Append the question and set aside its worst price, in one transaction; or say why not.

        With it goes the sandbox time that follows; where it is refused, what is left of the last stays, for
        the way to the pause.
        """
        async with self._engine.begin() as connection:
            await lock_purchases(connection, order.build_id)
            user = await load_user(connection, order.user)
            day = await open_day(connection, user, order.at)
            await book_time(connection, order.build_id, order.at, self._rate)
            # First the older attempt: if it is settling, this waits, and finds its reply below.
            await lose_open(connection, order.build_id)
            message_id = await self._find_question(connection, order.parent, order.question)
            if message_id and (known := await bought(connection, message_id)):
                return known
            sums = await add_up(connection, day, build_id=order.build_id)
            budget = await budget_left(connection, order.build_id)
            left = left_of(day, sums) if budget is None else min(left_of(day, sums), budget)
            max_tokens, price, price_id = offer(order, left - self._rate.slice)
            needed = price + self._rate.slice
            reason = await self._refusal(connection, day, sums, needed, budget)
            if reason is None and order.wound_down:
                reason = await _over(connection, order, day, sums, needed)
            if reason is not None:
                told = await _judged(connection, order, day, sums, needed, reason)
                return Refused(reason=reason, balance=told)
            if message_id is None:
                message_id = await self._append(connection, order)
            values = {"message_id": message_id, "max_tokens": max_tokens, "reserved": price}
            reservation_id = await open_entry(connection, order, day, values | {"price_id": price_id})
            if not self._rate.is_free:
                await set_ahead(connection, order.build_id, day, self._rate.slice, order.at)
            return Reservation(
                id=reservation_id,
                message_id=message_id,
                build_id=order.build_id,
                epoch=order.parent.epoch,
                input=dearest(order.input_tokens, order.lifetime),
                max_tokens=max_tokens,
                lifetime=order.lifetime,
            )

    @asynccontextmanager
    async def _booking(self) -> AsyncGenerator[AsyncConnection]:
        """Begin a transaction also for an attempt that was given up: the state of its entry tells it.

        What such a one has paid for is booked, and a reply of its own that came first is the reply.
        """
        async with self._engine.connect() as connection, connection.begin():
            yield connection

    async def holds(self, reservation: Reservation) -> bool:
        """Tell, before it is spent, whether the money is still set aside: this attempt may have stood still.

        Where another took over meanwhile, what that one booked as lost was not spent, and is given back.
        """
        async with self._booking() as connection:
            entry = await lock_entry(connection, reservation.id)
            if entry["state"] == "reserved":
                return True
            await correct_entry(connection, entry, state="released", cost=0, note="never sent")
        return False

    async def note_input(self, reservation: Reservation, usage: Usage) -> None:
        """Note what the provider counted as input, so that a crash from here on is priced closer."""
        async with self._engine.begin() as connection:
            await connection.execute(
                update(ledger)
                .where(ledger.c.id == reservation.id, ledger.c.state == "reserved")
                .values({name: getattr(usage, name) for name in INPUT})
            )

    async def settle(self, reservation: Reservation, delivery: Delivery) -> int:
        """Book what the reply cost and append it, in one transaction; gives the reply's row.

        A superseded attempt appends nothing: its cost is booked as lost and a retryable error raised.
        """
        async with self._booking() as connection:
            entry = await lock_entry(connection, reservation.id)
            price = price_of(entry["model"], delivery.usage, at=entry["opened_at"])
            values = usage_values(delivery.usage) | {
                "cost": price.microdollars,
                "stop_reason": delivery.stop_reason,
                "request_id": delivery.request_id,
            }
            if entry["state"] == "settled":  # by this same attempt, whose answer from the database was lost
                return entry["reply_id"]
            if entry["state"] == "reserved":
                reply_id = await self._append_reply(connection, reservation, delivery)
                values |= {"reply_id": reply_id, "note": delivery.why_refused}
                await close_entry(connection, reservation.id, state="settled", **values)
                return reply_id
            await correct_entry(connection, entry, **values, state="lost", note="superseded")
        raise ApplicationError(
            f"Another attempt took over this call; {price.microdollars} microdollars are shown as lost.",
            type=FailureType.RETRYABLE,
        )

    async def release(self, reservation: Reservation) -> None:
        """Give the money back: the provider did nothing for it."""
        async with self._booking() as connection:
            entry = await lock_entry(connection, reservation.id)
            if entry["state"] == "reserved":
                await close_entry(
                    connection, reservation.id, state="released", note="refused by the provider"
                )

    async def doubt(self, reservation: Reservation, *, why: str) -> None:
        """Close an attempt that was taken and never answered: lost once a question, else released.

        The provider may bill each, but stops when we hang up, before it has given anything. The output in the
        worst price of the first is room for the input of others; so an outage of hours costs one reply.
        """
        async with self._booking() as connection:
            entry = await lock_entry(connection, reservation.id)
            if entry["state"] != "reserved":
                return
            if await is_worst_lost(connection, reservation.message_id):
                await close_entry(connection, reservation.id, state="released", note=why)
            else:
                await lose_entry(connection, entry, why=why)

    async def lose(self, reservation: Reservation, *, why: str, used: Usage | None = None) -> None:
        """Book what a reply that never became whole used, else the most it may have; it stays counted."""
        async with self._booking() as connection:
            entry = await lock_entry(connection, reservation.id)
            if entry["state"] == "reserved":
                await lose_entry(connection, entry, why=why, used=used)

    async def lose_build(self, build_id: str) -> int:
        """Mark every open reservation of a build that has ended as lost; gives how many there were."""
        async with self._engine.begin() as connection:
            return await lose_open(connection, build_id)

    async def _find_question(self, connection: AsyncConnection, parent: Row, question: str) -> int | None:
        if not question:
            return parent.id
        return await self._transcript.find(connection, parent, role="user", body=question)

    async def _append(self, connection: AsyncConnection, order: Order) -> int:
        return await self._transcript.append(
            connection,
            build_id=order.parent.build_id,
            parent_id=order.parent.id,
            role="user",
            body=order.question,
            epoch=order.parent.epoch,
        )

    async def _append_reply(
        self, connection: AsyncConnection, reservation: Reservation, delivery: Delivery
    ) -> int:
        return await self._transcript.append(
            connection,
            build_id=reservation.build_id,
            parent_id=reservation.message_id,
            role="assistant",
            body=delivery.body,
            epoch=reservation.epoch,
        )

    async def _refusal(
        self, connection: AsyncConnection, day: Day, sums: Sums, needed: int, budget: int | None
    ) -> Refusal | None:
        if not await is_agent_on(connection, self._settings):
            return Refusal.DISABLED
        if day.user.suspended:
            return Refusal.SUSPENDED
        if budget is not None and needed > budget:
            return Refusal.USED_UP
        left = left_of(day, sums)
        if needed <= left:
            return None
        # The price is already that of the smallest reply worth having.
        if needed > max(day.money, day.fresh):
            return Refusal.TOO_DEAR
        return Refusal.BUSY if needed <= left + sums.reserved_by_others else Refusal.SPENT


async def _over(
    connection: AsyncConnection, order: Order, day: Day, sums: Sums, needed: int
) -> Refusal | None:
    """Tell whether the day is over for a build that had its last calls; fresh money opens it again."""
    balance = await balance_of(connection, day, build_id=order.build_id, worst_case=needed, sums=sums)
    # The end of the build's own budget is no end of the day: no sleep would help.
    of_day = stage_of(balance.model_copy(update={"build_left": None}))
    return Refusal.SPENT if of_day is Stage.WINDING_DOWN else None


async def _judged(
    connection: AsyncConnection, order: Order, day: Day, sums: Sums, needed: int, reason: Refusal
) -> Balance:
    """Give the numbers that a call was judged by: a second reading may already tell of freed money."""
    told = await balance_of(connection, day, build_id=order.build_id, worst_case=needed, sums=sums)
    if reason is not Refusal.SPENT or told.wakes_at is None:
        return told
    sleepers = await count_sleepers(connection, told.wakes_at, but=order.build_id)
    return told.model_copy(update={"sleepers": sleepers})
