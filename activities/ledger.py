"""The money of a user's day: balances and live numbers, and what is added to it."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import RowMapping, select
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity
from typing_extensions import override

from activities.days import balance_of, look_at_day, open_day, top_up
from activities.events import EventStream
from activities.failures import classified
from activities.heartbeat import heartbeating
from activities.money_tables import ledger
from activities.prices import worst_case
from activities.users import load_user
from activities.waking import wake_builds
from workflows import ports
from workflows.turns import AddMoney, Balance, CostRecord, ModelCall, WakeBuilds

RESULTS_ROOM = 8_000
"""Tokens that tool results may add before the next call, for its worst case."""
USUAL_MAX_TOKENS: int = ModelCall.model_fields["max_tokens"].default


@dataclass(frozen=True, slots=True, kw_only=True)
class Paid:
    """What a reply cost and what is left."""

    stop_reason: str
    note: str
    """Why the model declined, if it did and the provider says why."""
    input_tokens: int
    cache_read_tokens: int
    output_tokens: int
    cost: int
    """Microdollars."""
    overrun: int
    """Microdollars above what was reserved."""
    balance: Balance


class Ledger(ports.Ledger):
    """Reads the ledger in Postgres."""

    def __init__(self, engine: AsyncEngine, events: EventStream) -> None:
        self._engine = engine
        self._events = events

    @activity.defn
    @override
    async def record_cost(self, request: CostRecord) -> Balance:
        """Read the day's numbers after a reply and tell the watchers; writes no money."""
        async with heartbeating(), classified():
            paid = await self.paid(request.head, user=request.user, at=activity.info().started_time)
            balance = paid.balance
            spent = balance.settled + balance.lost
            await self._events.publish(
                request.build_id,
                "agent.budget_updated",
                budget_pct=100 * spent // balance.allowance if balance.allowance else 100,
                left_microdollars=balance.left,
                allowance_microdollars=balance.allowance,
                build_spent_microdollars=balance.build_spent,
                cost_microdollars=paid.cost,
            )
            return balance

    async def paid(self, reply_id: int, *, user: str, at: datetime) -> Paid:
        """Give what a reply cost, and the balance of the user's day at a moment."""
        async with self._engine.connect() as connection:
            found = await connection.execute(select(ledger).filter_by(reply_id=reply_id))
            entry = found.mappings().one()
            day = await look_at_day(connection, await load_user(connection, user), at)
            balance = await balance_of(
                connection, day, build_id=entry["build_id"], worst_case=_next_worst_case(entry, at)
            )
        return Paid(
            **{name: entry[name] for name in ("stop_reason", "note", "cost", *_TOKENS)},
            overrun=max(0, entry["cost"] - entry["reserved"]),
            balance=balance,
        )

    async def balance(self, user: str, *, at: datetime, build_id: str = "") -> Balance:
        """Read the balance of a user's day."""
        async with self._engine.connect() as connection:
            day = await look_at_day(connection, await load_user(connection, user), at)
            return await balance_of(connection, day, build_id=build_id)

    @activity.defn
    @override
    async def add_money(self, request: AddMoney) -> Balance:
        """Add money to the user's day, once a key."""
        async with heartbeating(), classified(), self._engine.begin() as connection:
            user, at = await load_user(connection, request.user), activity.info().started_time
            await top_up(
                connection, await open_day(connection, user, at), request.microdollars, key=request.key
            )
            day = await look_at_day(connection, user, at)
            return await balance_of(connection, day, build_id=request.build_id)

    @activity.defn
    @override
    async def wake_builds(self, request: WakeBuilds) -> int:
        """Wake the user's running builds; gives how many there were."""
        async with heartbeating(), classified():
            return await wake_builds(activity.client(), user=request.user, but=request.but)


_TOKENS = ("input_tokens", "cache_read_tokens", "output_tokens")


def _next_worst_case(entry: RowMapping, at: datetime) -> int:
    tokens = entry["input_tokens"] + entry["output_tokens"] + RESULTS_ROOM
    ceiling = max(entry["max_tokens"], USUAL_MAX_TOKENS)
    return worst_case(entry["model"], input_tokens=tokens, max_tokens=ceiling, at=at).microdollars
