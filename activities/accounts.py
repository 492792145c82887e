"""What admins see and change of a user: plan, money, limits, model, and the kill switch. Knows no build."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from activities.days import balance_of, look_at_day, open_day, share_out_again, top_up
from activities.money_tables import plan_tiers, users
from activities.tables import builds
from activities.users import User, find_user, turn_switch
from workflows.turns import Balance


class UnknownUser(Exception):
    """Nobody of this name was seen yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user and their day."""

    user: User
    balance: Balance
    open_builds: int


class Accounts:
    """The rows of users, as admins change them."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def show(self, user_id: str, *, at: datetime) -> Account:
        """Read a user and their day; raises UnknownUser."""
        async with self._engine.connect() as connection:
            return await _account(connection, user_id, at)

    async def tiers(self) -> list[str]:
        """Give the plans that there are, the smallest first."""
        async with self._engine.connect() as connection:
            query = select(plan_tiers.c.slug).order_by(plan_tiers.c.cycle_budget, plan_tiers.c.slug)
            return list((await connection.execute(query)).scalars())

    async def change(self, user_id: str, values: Mapping[str, object], *, at: datetime) -> Account:
        """Change a user's row and share out the running day anew; raises UnknownUser.

        A user who is given a plan is made when they were never seen.
        """
        async with self._engine.begin() as connection:
            if "tier" in values:
                row = insert(users).values(id=user_id, tier=values["tier"])
                await connection.execute(row.on_conflict_do_nothing())
            await connection.execute(update(users).filter_by(id=user_id).values(dict(values)))
            await share_out_again(connection, await _known(connection, user_id), at)
            return await _account(connection, user_id, at)

    async def add(self, user_id: str, microdollars: int, *, key: str, at: datetime) -> Account:
        """Add money to the user's day, once a key; raises UnknownUser."""
        async with self._engine.begin() as connection:
            user = await _known(connection, user_id)
            await top_up(connection, await open_day(connection, user, at), microdollars, key=key)
            return await _account(connection, user_id, at)

    async def override_model(self, user_id: str, role: str, model: str, *, at: datetime) -> Account:
        """Set the model of a role, or leave it to the plan again; raises UnknownUser."""
        async with self._engine.begin() as connection:
            await connection.execute(select(users.c.id).filter_by(id=user_id).with_for_update(key_share=True))
            given = (await _known(connection, user_id)).override_models
            models = {name: one for name, one in {**given, role: model}.items() if one}
            await connection.execute(update(users).filter_by(id=user_id).values(override_models=models))
            return await _account(connection, user_id, at)

    async def switch(self, *, on: bool) -> None:
        """Turn the kill switch."""
        async with self._engine.begin() as connection:
            await turn_switch(connection, on=on)


async def _known(connection: AsyncConnection, user_id: str) -> User:
    if (user := await find_user(connection, user_id)) is None:
        raise UnknownUser(user_id)
    return user


async def _account(connection: AsyncConnection, user_id: str, at: datetime) -> Account:
    user = await _known(connection, user_id)
    query = select(func.count()).select_from(builds).filter_by(user_id=user_id, finished_at=None)
    day = await look_at_day(connection, user, at)
    return Account(
        user=user,
        balance=await balance_of(connection, day, build_id=""),
        open_builds=(await connection.execute(query)).scalar_one(),
    )
