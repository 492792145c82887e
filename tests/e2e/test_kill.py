"""Kill -9 of the worker in the middle of a turn, with real processes."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import httpx2
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from starter.commands import start_build
from tests.histories import heartbeat_timeouts
from workflows.models import BuildResult

TURNS = 8


async def test_killed_in_mid_stream_and_in_mid_tool(everything, open_worker, model_control, database):
    """A worker killed while a reply streams, and another while a tool runs: the build still ends READY.

    Each tool call ran once, the half reply is booked as lost, the whole one bought once more. The last worker
    is told another heartbeat timeout, which holds for what it goes on with.
    """
    await model_control.post("/_control/hold", json={"after_events": 3, "after": 2})
    request = {"idea": f"[[script:long turns={TURNS}]]", "project": "killed"}
    async with open_worker() as worker:
        handle = await start_build(everything.client, request, "killed")
        build_id = handle.first_execution_run_id
        await until(lambda: _is_held(model_control))
        await worker.kill()
    await model_control.post("/_control/release", json={})
    async with open_worker() as worker:
        await until(lambda: _is_in_mid_tool(database, build_id), pause=0.002)
        await worker.kill()
    async with open_worker(HEARTBEAT_TIMEOUT_SECONDS="2.5"):
        result = BuildResult.model_validate(await handle.result())
    first, *_, last = heartbeat_timeouts(await handle.fetch_history())

    assert "READY" == result.status
    assert (timedelta(seconds=3.5), timedelta(seconds=2.5)) == (first, last)
    assert [f"long turn {n} of {TURNS}" for n in range(1, TURNS + 1)] == await _reached(database, build_id)
    assert 1 == await one(
        database, "SELECT count(*) FROM ledger WHERE build_id = :b AND state = 'lost'", build_id
    )
    replies = "SELECT count(*) FROM transcript WHERE build_id = :b AND role = 'assistant'"
    settled = "SELECT count(*) FROM ledger WHERE build_id = :b AND state = 'settled'"
    assert await one(database, replies, build_id) == await one(database, settled, build_id)
    assert 0 == await one(
        database, "SELECT count(*) FROM ledger WHERE build_id = :b AND state = 'reserved'", build_id
    )


async def _is_held(control: httpx2.AsyncClient) -> bool:
    return (await control.get("/_control/hold")).json()["waiting"] == 1


async def _is_in_mid_tool(engine: AsyncEngine, build_id: str) -> bool:
    begun = """SELECT count(*) FROM tool_starts s JOIN transcript t ON t.id = s.head_id
        LEFT JOIN tool_results r ON r.head_id = s.head_id AND r.tool_use_id = s.tool_use_id
        WHERE t.build_id = :b AND r.id IS NULL"""
    return await one(engine, begun, build_id) == 1


async def _reached(engine: AsyncEngine, build_id: str) -> list[str]:
    """The first line of each tool result, oldest first; a command that ran twice would count twice."""
    query = """SELECT substring(r.body from 'long turn [0-9]+ of [0-9]+') FROM tool_results r
        JOIN transcript t ON t.id = r.head_id WHERE t.build_id = :b ORDER BY r.id"""
    async with engine.connect() as connection:
        return list((await connection.execute(text(query), {"b": build_id})).scalars())


async def one(engine: AsyncEngine, query: str, build_id: str) -> int:
    """The single number that a query gives."""
    async with engine.connect() as connection:
        return int((await connection.execute(text(query), {"b": build_id})).scalar_one())


async def until(is_so: Callable[[], Awaitable[bool]], *, pause: float = 0.05) -> None:
    """Wait until a condition outside this process holds."""
    async with asyncio.timeout(60):
        while not await is_so():
            await asyncio.sleep(pause)
