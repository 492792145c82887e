"""A long build is one conversation that only grows, whatever happens to its worker, its money and its run."""

import asyncio
import itertools
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from sqlalchemy import text

from starter.commands import start_build
from tests.e2e.test_kill import one
from workflows.models import BuildResult, BuildStatus

TURNS = 200
FIRST_REST, KILLED, ASLEEP = 60, 100, 140
"""Turns after which the run continues as new, the worker is killed, and the money runs out."""
RICH = 300_000_000
"""A day's money that no epoch is opened for, microdollars."""


@pytest.mark.timeout(600)
async def test_every_request_of_a_build_starts_with_the_one_before(
    everything, open_worker, model_control, database
):
    """Item by item, over 200 turns with a kill -9, a sleep for want of money and continue-as-news.

    95 % and more of all input is read from the cache.
    """
    user = await rich_user(database)
    request = {
        "idea": f"[[script:long turns={TURNS} told=19]]",
        "project": user,
        "user": user,
        "max_tool_calls": TURNS + 50,
        "turns_per_run": FIRST_REST,
    }
    async with open_worker() as worker:
        handle = await start_build(everything.client, request, user)
        build_id = handle.first_execution_run_id
        await until(lambda: reached(model_control, KILLED))
        await worker.kill()
    async with open_worker():
        await until(lambda: reached(model_control, ASLEEP))
        await spend_all(database, user)
        await until(lambda: is_shown(handle, "SLEEPING"))
        await add_money(database, user)
        await handle.signal("wake")
        result = BuildResult.model_validate(await handle.result())
        entries = await handle.query("timeline")
    sent = await requests_of(model_control)

    assert ("READY", TURNS) == (result.status, result.tool_calls)
    assert any("SLEEPING" in entry["text"] for entry in entries)
    assert handle.first_execution_run_id != (await handle.describe()).run_id
    assert 1 == await one(
        database,
        "SELECT count(*) FROM transcript WHERE build_id = :b AND role = 'system'",
        build_id,
    )
    assert len(sent) > TURNS
    for before, after in itertools.pairwise(each["digests"] for each in sent):
        assert_starts_with(before, after)
    assert cache_share(sent) >= 0.95


def assert_starts_with(before: dict[str, list[str]], after: dict[str, list[str]]) -> None:
    """Hold a request against the one before it."""
    assert (before["tools"], before["system"]) == (after["tools"], after["system"])
    assert before["messages"] == after["messages"][: len(before["messages"])]


def cache_share(sent: list[dict]) -> float:
    """How much of all input was read from the cache."""
    used = [each["usage"] for each in sent]
    read = sum(each["cache_read_input_tokens"] for each in used)
    return read / sum(
        each["input_tokens"] + each["cache_creation_input_tokens"] + each["cache_read_input_tokens"]
        for each in used
    )


async def requests_of(control, last: int = 1_000) -> list[dict]:
    """What the server received, oldest first."""
    return (await control.get("/_control/requests", params={"last": last})).json()["requests"]


async def until(is_so: Callable[[], Awaitable[bool]], *, limit: timedelta = timedelta(minutes=4)) -> None:
    """Wait until a condition outside this process holds."""
    async with asyncio.timeout(limit.total_seconds()):
        while not await is_so():
            await asyncio.sleep(0.2)


async def reached(control, turns: int) -> bool:
    """Whether the conversation has so many turns."""
    newest = await requests_of(control, last=1)
    return bool(newest) and newest[0]["messages"] >= 2 * turns


async def is_shown(handle, status: str) -> bool:
    """Whether people see this state."""
    shown = await handle.query("status", result_type=BuildStatus, rpc_timeout=timedelta(seconds=10))
    return shown.status == status


async def rich_user(database, allowance: int = RICH) -> str:
    """A user whose day allows so much."""
    user = f"user-{uuid.uuid4().hex[:8]}"
    people = "INSERT INTO users (id, tier, cycle_budget) VALUES (:u, 'cto_scale', :b)"
    async with database.begin() as connection:
        await connection.execute(text(people), {"u": user, "b": 31 * allowance})
    return user


async def spend_all(database, user: str) -> None:
    """Take what is left of the user's day."""
    await _change_day(database, user, "added = -allowance")


async def add_money(database, user: str) -> None:
    """Give the user's day its money back."""
    await _change_day(database, user, "added = 0")


async def _change_day(database, user: str, change: str) -> None:
    async with database.begin() as connection:
        await connection.execute(text(f"UPDATE days SET {change} WHERE user_id = :u"), {"u": user})  # noqa: S608 ours
