"""A long build is one conversation that only grows, and its last turns cost what its first cost.

One build goes through all that may happen to it: 200 turns in `make test`, 2,000 in `make test-long`.
"""

import asyncio
import itertools
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest
from sqlalchemy import text
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHistory

from starter.commands import start_build
from tests.e2e.conftest import switches
from tests.e2e.test_kill import one
from tests.histories import chain, replay
from workflows.models import BuildResult, BuildStatus

KILLED, ASLEEP, NARROWED = 80, 100, 110
"""Turns after which the worker is killed, the money runs out, and the model's context becomes smaller."""
CONTEXT = 40_000
"""Tokens that the model takes from then on, fewer than the conversation has."""
RICH = 300_000_000
"""A day's money that no epoch is opened for, microdollars."""
HOUR = 3_600


@dataclass(frozen=True)
class Course:
    """How long a build is."""

    turns: int
    turns_per_run: int
    epochs: int
    """It has at least so many."""


@dataclass(frozen=True)
class LongBuild:
    """A build that is over."""

    course: Course
    result: BuildResult
    timeline: list[dict]
    """As it was at turn 110."""
    sent: list[dict]
    """What the model's server received, oldest first."""
    epochs: int
    runs: list[WorkflowHistory]

    @property
    def steps(self) -> list[tuple[dict, dict]]:
        """Each request and the one after it."""
        return list(itertools.pairwise(self.sent))


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(Course(200, 70, epochs=3), id="short", marks=pytest.mark.timeout(600)),
        pytest.param(
            Course(2_000, 400, epochs=20), id="long", marks=[pytest.mark.long, pytest.mark.timeout(2 * HOUR)]
        ),
    ],
)
async def build(request, everything, open_worker, database) -> LongBuild:
    """Built with a kill -9, a sleep for want of money, a context that becomes too small, and several runs.

    Every fifth turn runs a command that prints 5 KB; the others only tell.
    """
    course: Course = request.param
    user = await rich_user(database)
    given = {
        "idea": f"[[script:long turns={course.turns} told=4]]",
        "project": user,
        "user": user,
        "max_tool_calls": course.turns + 50,
        "turns_per_run": course.turns_per_run,
    }
    async with switches(everything) as control:
        begun = await asked(control)
        async with open_worker() as worker:
            handle = await start_build(everything.client, given, user)
            await until(lambda: reached(control, begun + KILLED))
            await worker.kill()
        async with open_worker():
            await until(lambda: reached(control, begun + ASLEEP))
            await spend_all(database, user)
            await until(lambda: is_shown(handle, "SLEEPING"))
            await add_money(database, user)
            await handle.signal("wake")
            await until(lambda: reached(control, begun + NARROWED))
            timeline = await handle.query("timeline")
            await control.post("/_control/limits", json={"max_input_tokens": CONTEXT})
            result = BuildResult.model_validate(await handle.result())
        sent = (await control.get("/_control/requests", params={"last": 10_000})).json()["requests"]
    roots = "SELECT count(*) FROM transcript WHERE build_id = :b AND role = 'system'"
    return LongBuild(
        course=course,
        result=result,
        timeline=timeline,
        sent=sent,
        epochs=await one(database, roots, str(handle.first_execution_run_id)),
        runs=[run async for run in chain(everything.client, handle)],
    )


def test_it_ends_ready_with_each_call_made_once(build: LongBuild):
    """Through several runs and epochs, a killed worker and a sleep."""
    turns = build.course.turns
    assert ("READY", turns, turns + 1) == (build.result.status, build.result.tool_calls, build.result.turns)
    assert len(build.runs) >= turns // build.course.turns_per_run
    assert build.epochs >= build.course.epochs
    assert any("SLEEPING" in entry["text"] for entry in build.timeline)


def test_each_request_starts_with_the_one_before(build: LongBuild):
    """Item by item within an epoch; a new one keeps the frozen prefix."""
    assert len(build.sent) > build.course.turns
    for before, after in build.steps:
        if is_fresh(after):
            assert before["digests"]["system"] == after["digests"]["system"]
        else:
            assert_starts_with(before["digests"], after["digests"])


def test_an_epoch_begins_with_at_most_half(build: LongBuild):
    """What is sent after a new epoch was opened is at most half of what was sent before."""
    opened = [(before, after) for before, after in build.steps if is_fresh(after)]

    assert opened
    assert all(input_of(after) <= input_of(before) // 2 for before, after in opened)


def test_input_is_read_from_the_cache(build: LongBuild):
    """95 % and more of all input, over the first hundred turns, whatever became of the worker."""
    first = build.sent[:NARROWED]
    read = sum(each["usage"]["cache_read_input_tokens"] for each in first)

    assert not any(is_fresh(each) for each in first[1:])
    assert read >= 0.95 * sum(map(input_of, first))


def test_turn_60_costs_what_turn_10_cost(build: LongBuild):
    """History bytes of turn 60 are within 10 % of those of turn 10, as it holds references and previews."""
    sizes = bytes_by_turn(build.runs[0])
    ten, sixty = sum(sizes[7:12]) / 5, sum(sizes[57:62]) / 5

    assert abs(sixty - ten) <= ten / 10
    assert max(sizes[:-1]) < 8_000


async def test_every_run_can_be_replayed(build: LongBuild):
    """Today's code makes the same decisions again."""
    for run in build.runs:
        await replay(run)


def is_fresh(request: dict) -> bool:
    """Whether a request begins a conversation."""
    return request["messages"] == 1


def input_of(request: dict) -> int:
    """All input of a request, tokens."""
    used = request["usage"]
    return sum(
        used[name] for name in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    )


def assert_starts_with(before: dict[str, list[str]], after: dict[str, list[str]]) -> None:
    """Hold a request against the one before it."""
    assert (before["tools"], before["system"]) == (after["tools"], after["system"])
    assert before["messages"] == after["messages"][: len(before["messages"])]


def bytes_by_turn(run: WorkflowHistory) -> list[int]:
    """Bytes of the events from one call of the model to the next."""
    sizes: list[int] = []
    for event in run.events:
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            name = event.activity_task_scheduled_event_attributes.activity_type.name
            if name == "call_model":
                sizes.append(0)
        if sizes:
            sizes[-1] += event.ByteSize()
    return sizes


async def until(is_so: Callable[[], Awaitable[bool]], *, limit: timedelta = timedelta(minutes=4)) -> None:
    """Wait until a condition outside this process holds."""
    async with asyncio.timeout(limit.total_seconds()):
        while not await is_so():
            await asyncio.sleep(0.2)


async def asked(control) -> int:
    """How often the model was ever asked."""
    return (await control.get("/_control/requests", params={"last": 0})).json()["count"]


async def reached(control, times: int) -> bool:
    """Whether the model was asked so often."""
    return await asked(control) >= times


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
