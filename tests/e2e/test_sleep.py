"""The day's allowance on real parts and a skipped clock: spent, asleep for hours, awake, READY."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text

from activities.settings import Settings
from tests.histories import replay
from worker import TASK_QUEUE, build_worker, open_activities
from workflows.models import BuildResult

ZONE = ZoneInfo("America/New_York")
TODAY = 42_000
"""Four cents are left today: some turns of the scripted model."""


@pytest.fixture
async def night(everything, database, time_skipping) -> AsyncIterator:
    """A time-skipping server, a worker with the real adapters, and a user with little money."""

    @asynccontextmanager
    async def open_night():
        user = f"user-{uuid.uuid4().hex[:8]}"
        async with time_skipping() as environment:
            now = await environment.get_current_time()
            await _write_user(database, user, now)
            settings = Settings.from_env(everything.environment)
            async with open_activities(settings) as activities, build_worker(environment.client, activities):
                yield environment, user

    return open_night


async def _write_user(database, user, now) -> None:
    """A user with a dollar a day, of which today has four cents."""
    people = "INSERT INTO users (id, tier, timezone, renews_on) VALUES (:u, 'bootstrapper', :z, :r)"
    today = "INSERT INTO days (user_id, day, allowance) VALUES (:u, :d, :a)"
    renews_on = (now + timedelta(days=30)).date()
    async with database.begin() as connection:
        await connection.execute(text(people), {"u": user, "z": ZONE.key, "r": renews_on})
        await connection.execute(text(today), {"u": user, "d": now.astimezone(ZONE).date(), "a": TODAY})


async def _start(environment, user):
    request = {"idea": "[[script:sleeper turns=14]]", "project": user, "user": user}
    return await environment.client.start_workflow("BuildWorkflow", request, id=user, task_queue=TASK_QUEUE)


async def test_out_of_money_it_sleeps_to_local_midnight_and_finishes(night, database):
    """The allowance runs out mid-build: it sleeps to the user's midnight, wakes by itself, and ends READY."""
    async with night() as (environment, user):
        handle = await _start(environment, user)
        result = BuildResult.model_validate(await handle.result())
        entries = await handle.query("timeline")
        await replay(handle)

    assert "READY" == result.status
    slept = [entry["text"] for entry in entries if "SLEEPING" in entry["text"]]
    assert 1 == len(slept)
    assert slept[0].endswith(("04:00 UTC", "04:01 UTC", "05:00 UTC", "05:01 UTC"))
    days = await _rows(database, "SELECT day, sum(cost) FROM ledger WHERE user_id = :u GROUP BY day", user)
    limits = dict(await _rows(database, "SELECT day, allowance + added FROM days WHERE user_id = :u", user))
    assert 2 == len(days)
    assert all(0 < spent <= limits[day] for day, spent in days)


async def test_early_wake_with_new_money(night, database):
    """Asleep, given more money and a wake signal, it goes on long before midnight."""
    async with night() as (environment, user):
        before = await environment.get_current_time()
        with environment.auto_time_skipping_disabled():
            handle = await _start(environment, user)
            wake_at = await _asleep(database, user)
            statement = "UPDATE days SET added = added + 5000000 WHERE user_id = :u"
            async with database.begin() as connection:
                await connection.execute(text(statement), {"u": user})
            await handle.signal("wake")
            result = BuildResult.model_validate(await handle.result())
        after = await environment.get_current_time()

    assert "READY" == result.status
    assert after < wake_at
    assert after - before < timedelta(hours=1)


async def _asleep(database, user) -> datetime:
    """Wait until the build's row says that it sleeps, and give until when; nothing is asked of its worker."""
    query = "SELECT wake_at FROM builds WHERE user_id = :u AND status = 'sleeping'"
    while not (found := await _rows(database, query, user)):
        await asyncio.sleep(0.1)
    return found[0][0]


async def _rows(database, query, user) -> list[tuple]:
    async with database.connect() as connection:
        return [tuple(row) for row in await connection.execute(text(query), {"u": user})]
