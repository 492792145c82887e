"""Kill -9 of the worker at each moment of a purchase, with real processes: what the ledger says then."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from starter.commands import start_build
from starter.worker_process import WorkerProcess
from workflows.models import BuildResult

TURNS = 3
NEWEST = """SELECT state, input_tokens, id FROM ledger
    WHERE build_id = :b AND kind = 'model' ORDER BY id DESC LIMIT 1"""
PRICED = {"SANDBOX_MICRODOLLARS_PER_SECOND": "30.25"}
BLOCKED = """SELECT count(*) FROM pg_stat_activity
    WHERE wait_event_type = 'Lock' AND query LIKE :table AND query NOT LIKE '%pg_stat_activity%'"""


class Purchase:
    """The newest purchase of a build, seen and held from outside."""

    def __init__(self, control: Any, engine: AsyncEngine, build_id: str) -> None:
        self._control = control
        self._engine = engine
        self._build_id = build_id
        self._attempt = 0
        """The ledger's row of the last one that died."""

    async def newest(self) -> Any:
        """The newest row of the build's ledger."""
        async with self._engine.connect() as connection:
            return (await connection.execute(text(NEWEST), {"b": self._build_id})).one_or_none()

    async def stands_at(self, state: str, *, heard: bool) -> bool:
        """Tell whether the new attempt is in a state, its input told by the provider or not."""
        found = await self.newest()
        if found is None or found.id == self._attempt:
            return False
        return (found.state, found.input_tokens > 0) == (state, heard)

    async def hold(self, after_events: int) -> None:
        """Hold the stream of the next attempt after so many events."""
        found = await self.newest()
        self._attempt = found.id if found else 0
        await self._control.post("/_control/hold", json={"after_events": after_events})

    async def release(self) -> None:
        """Let the held stream go on to its end."""
        await self._control.post("/_control/release", json={})

    @asynccontextmanager
    async def locked(self, statement: str) -> AsyncIterator[None]:
        """Hold a lock in the database."""
        async with self._engine.connect() as connection:
            await connection.execute(text(statement), {"b": self._build_id})
            yield
            await connection.rollback()

    async def is_blocked(self, table: str) -> bool:
        """Tell whether somebody waits for a lock of ours on a table."""
        async with self._engine.connect() as connection:
            found = await connection.execute(text(BLOCKED), {"table": f"%{table}%"})
        return found.scalar_one() > 0


async def after_reserve(purchase: Purchase, worker: WorkerProcess) -> None:
    """The money is set aside, and the provider has not said a word."""
    await until(lambda: purchase.stands_at("reserved", heard=False))
    await worker.kill()


async def mid_stream(purchase: Purchase, worker: WorkerProcess) -> None:
    """Half of the reply has come."""
    await until(lambda: purchase.stands_at("reserved", heard=True))
    await worker.kill()


async def before_the_commit(purchase: Purchase, worker: WorkerProcess) -> None:
    """The whole reply has come, and its transaction is under way."""
    await until(lambda: purchase.stands_at("reserved", heard=True))
    async with purchase.locked("SELECT id FROM ledger WHERE build_id = :b FOR UPDATE"):
        await purchase.release()
        await until(lambda: purchase.is_blocked("ledger"))
        await worker.kill()


async def after_the_commit(purchase: Purchase, worker: WorkerProcess) -> None:
    """It is settled, and Temporal has not heard of it."""
    await until(lambda: purchase.stands_at("reserved", heard=True))
    # What a settled reply left of the day is read for the answer, the user's row with it.
    async with purchase.locked("LOCK TABLE users IN ACCESS EXCLUSIVE MODE"):
        await purchase.release()
        await until(lambda: purchase.is_blocked("users"))
        os.kill(worker.pid, signal.SIGSTOP)
        assert await purchase.stands_at("settled", heard=True)
        await worker.kill()


Moment = Callable[[Purchase, WorkerProcess], Awaitable[None]]
MOMENTS: list[tuple[Moment, int, str]] = [
    (after_reserve, 0, "lost"),
    (mid_stream, 3, "lost"),
    (before_the_commit, 3, "lost"),
    (after_the_commit, 3, "settled"),
]
"""When the worker is killed, after how many events the stream is held for it, what the ledger says of it."""


async def test_killed_at_each_moment_of_a_purchase(everything, open_worker, model_control, database):
    """Each attempt that dies before its commit is lost, the one after it is not bought again, all add up.

    The sandbox runs on while workers die: its seconds are paid once, those between two workers too.
    """
    request = {"idea": f"[[script:long turns={TURNS}]]", "project": "killed-purchase", "user": "killed-user"}
    handle = await start_build(everything.client, request, "killed-purchase")
    began = time.monotonic()
    build_id = handle.first_execution_run_id
    purchase = Purchase(model_control, database, build_id)
    for moment, events, _ in MOMENTS:
        await purchase.hold(events)
        async with open_worker(**PRICED) as worker:
            await moment(purchase, worker)
        await purchase.release()
    async with open_worker(**PRICED):
        result = BuildResult.model_validate(await handle.result())
    everything_booked = await entries_of(database, build_id)
    entries = [entry for entry in everything_booked if entry["kind"] == "model"]
    requests = (await model_control.get("/_control/requests?last=1000")).json()["requests"]

    assert "READY" == result.status
    assert [state for *_, state in MOMENTS] == [entry["state"] for entry in entries][: len(MOMENTS)]
    assert {"settled"} == {entry["state"] for entry in entries[len(MOMENTS) :]}
    settled = [entry for entry in entries if entry["state"] == "settled"]
    assert len(settled) == len({entry["message_id"] for entry in settled}) == result.turns
    # The first attempt may die before it has asked anything.
    assert len(entries) - 1 <= len(requests) <= len(entries)
    worst, *heard = [entry for entry in entries if entry["state"] == "lost"]
    assert worst["cost"] == worst["reserved"]
    assert all(0 < entry["cost"] <= entry["reserved"] for entry in heard)
    assert sum(entry["cost"] for entry in everything_booked) == (await spent_of(database, build_id))
    assert sum(entry["cost"] for entry in entries) < result.spent_microdollars
    assert {"settled", "lost", "released"} == {entry["state"] for entry in everything_booked}
    seconds = sum(entry["microseconds"] for entry in everything_booked) / 1_000_000
    worked = (entries[-1]["opened_at"] - entries[0]["opened_at"]).total_seconds()
    assert worked <= seconds <= time.monotonic() - began


async def entries_of(engine: AsyncEngine, build_id: str) -> list[dict[str, Any]]:
    """A build's ledger, oldest first."""
    async with engine.connect() as connection:
        found = await connection.execute(
            text("SELECT * FROM ledger WHERE build_id = :b ORDER BY id"), {"b": build_id}
        )
        return [dict(row) for row in found.mappings()]


async def spent_of(engine: AsyncEngine, build_id: str) -> int:
    """What a build's row says that it spent."""
    async with engine.connect() as connection:
        return (
            await connection.execute(text("SELECT spent FROM builds WHERE id = :b"), {"b": build_id})
        ).scalar_one()


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition outside this process holds."""
    async with asyncio.timeout(60):
        while not await is_so():
            await asyncio.sleep(0.02)
