"""Sandbox time as money: from when to when a sandbox runs, booked by whoever passes by.

A sandbox's row says until when its time is booked (`billed_until`, none: it does not run) and when its
session ends at the latest (`runs_until`). Each booking moves the mark and the ledger in one transaction: a
second is booked once, and what a crash left is booked by the next call, or by the janitor.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from activities.days import add_up, left_of, open_day
from activities.entries import lock_purchases
from activities.heartbeat import server_now
from activities.sandbox_rows import SandboxRow, is_row
from activities.settings import Settings
from activities.tables import builds, sandboxes
from activities.time_entries import Rate, book_time, is_any_running, release_ahead, set_ahead
from activities.users import load_user


class SandboxTime:
    """What the sandboxes of builds cost; a price of nothing books nothing."""

    def __init__(
        self, engine: AsyncEngine, settings: Settings, *, now: Callable[[], datetime] = server_now
    ) -> None:
        self._engine = engine
        self._rate = Rate.of(settings)
        self._session = settings.sandbox_session
        self._now = now

    async def begin(self, row: SandboxRow, *, anew: bool) -> None:
        """Note, before the provider is asked for it, that a sandbox runs from now on.

        `anew`: whatever an earlier attempt noted, it is known not to have run until now.
        """
        if self._rate.is_free:
            return
        now = self._now()
        mark = now if anew else func.coalesce(sandboxes.c.billed_until, now)
        async with self._engine.begin() as connection:
            await lock_purchases(connection, row.build_id)
            await connection.execute(
                update(sandboxes).where(_is(row)).values(billed_until=mark, runs_until=now + self._session)
            )

    async def lengthened(self, sandbox_id: str, session: timedelta) -> None:
        """Note until when a running sandbox lives now."""
        if self._rate.is_free:
            return
        until = func.greatest(sandboxes.c.runs_until, self._now() + session)
        async with self._engine.begin() as connection:
            await connection.execute(
                update(sandboxes)
                .where(sandboxes.c.sandbox_id == sandbox_id, sandboxes.c.billed_until.is_not(None))
                .values(runs_until=until)
            )

    async def renew(self, build_id: str) -> None:
        """Book what was used and set aside, as far as there is money, what the next step may use."""
        if self._rate.is_free:
            return
        now = self._now()
        async with self._engine.begin() as connection:
            await lock_purchases(connection, build_id)
            open_of = select(builds.c.user_id).where(builds.c.id == build_id, builds.c.finished_at.is_(None))
            user_id = (await connection.execute(open_of)).scalar_one_or_none()
            if user_id is None:  # a preview is booked, and nothing is kept for it
                await book_time(connection, build_id, now, self._rate)
                return
            day = await open_day(connection, await load_user(connection, user_id), now)
            await book_time(connection, build_id, now, self._rate)
            sums = await add_up(connection, day, build_id=build_id)
            left = left_of(day, sums)
            await set_ahead(connection, build_id, day, max(0, min(self._rate.slice, left)), now)

    async def end(self, row: SandboxRow, *, was_running: bool = False) -> None:
        """Book a sandbox up to now, and note that it does not run any more.

        `was_running`: it is known to have run until now, whatever was noted of its session.
        """
        if self._rate.is_free:
            return
        now = self._now()
        async with self._engine.begin() as connection:
            await lock_purchases(connection, row.build_id)
            if was_running:
                await connection.execute(update(sandboxes).where(_is(row)).values(runs_until=now))
            await book_time(connection, row.build_id, now, self._rate)
            await _unmark(connection, row)

    async def cancel(self, row: SandboxRow) -> None:
        """Forget what `begin` noted of a sandbox that did not run after all."""
        if self._rate.is_free:
            return
        async with self._engine.begin() as connection:
            await lock_purchases(connection, row.build_id)
            await _unmark(connection, row)

    async def settle(self, build_id: str) -> None:
        """Book what an ended build used until now, and give back what was set aside."""
        if self._rate.is_free:
            return
        now = self._now()
        async with self._engine.begin() as connection:
            await lock_purchases(connection, build_id)
            await book_time(connection, build_id, now, self._rate)
            await release_ahead(connection, build_id)

    async def end_expired(self) -> int:
        """Book and end every sandbox whose session is over, and give how many; for the janitor."""
        if self._rate.is_free:
            return 0
        now = self._now()
        async with self._engine.connect() as connection:
            found = await connection.execute(select(sandboxes.c.build_id).where(_is_over(now)).distinct())
            build_ids = list(found.scalars())
        for build_id in build_ids:
            async with self._engine.begin() as connection:
                await self._end_expired_of(connection, build_id, now)
        return len(build_ids)

    async def _end_expired_of(self, connection: AsyncConnection, build_id: str, now: datetime) -> None:
        await lock_purchases(connection, build_id)
        await book_time(connection, build_id, now, self._rate)
        over = and_(sandboxes.c.build_id == build_id, _is_over(now))
        await connection.execute(update(sandboxes).where(over).values(billed_until=None))


def _is_over(now: datetime) -> Any:
    return and_(
        sandboxes.c.billed_until.is_not(None), sandboxes.c.runs_until <= now, sandboxes.c.sandbox_id != ""
    )


async def _unmark(connection: AsyncConnection, row: SandboxRow) -> None:
    await connection.execute(update(sandboxes).where(_is(row)).values(billed_until=None))
    if not await is_any_running(connection, row.build_id):
        await release_ahead(connection, row.build_id)


def _is(row: SandboxRow) -> Any:
    return is_row(row.build_id, row.role, row.generation)
