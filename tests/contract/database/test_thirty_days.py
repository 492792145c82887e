"""Thirty days of a build that spends its allowance every day: the real ledger under a skipped clock."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import func, select
from temporalio import activity
from temporalio.client import WorkflowHandle
from temporalio.testing import WorkflowEnvironment
from typing_extensions import override

from activities.builds import Builds
from activities.money_tables import days, ledger
from activities.orders import Bought, Delivery, Order, Refused
from activities.prices import Usage
from activities.sandbox_time import SandboxTime
from activities.settings import Settings
from tests import fakes
from tests.handles import ready
from worker import bind, build_worker
from workflows import budget, ports
from workflows.models import StatusChange
from workflows.turns import ModelCall, ModelReply, ToolCall, ToolOutcome

ZONE = ZoneInfo("America/New_York")
DAYS = 30
EARLY = 7
"""The night on which it is woken for nothing."""
RICHER = 11
"""The night on which it is given more money."""
GIFT = 700_000


@dataclass
class Night:
    """What the fakes noted of the days."""

    sleeps: list[datetime] = field(default_factory=list)
    """Until when it said that it sleeps."""
    wakes: list[datetime] = field(default_factory=list)
    """When it said that it woke, in server time."""
    told: asyncio.Event = field(default_factory=asyncio.Event)
    is_over: bool = False


class Spender(ports.Model):
    """A model that costs about a third of a dollar a call; its purchases are the real ones."""

    def __init__(self, desk: Any, world: fakes.World, night: Night) -> None:
        self._desk = desk
        self._world = world
        self._night = night

    @activity.defn
    @override
    async def call_model(self, request: ModelCall) -> ModelReply:
        desk = self._desk
        parent = (await desk.transcript.path(request.head))[-1]
        order = Order(
            build_id=request.build_id,
            user=request.user,
            model=request.model,
            parent=parent,
            question=f'[{{"type":"text","text":"{request.turn}"}}]',
            input_tokens=120_000,
            max_tokens=10_000,
            at=activity.info().started_time,
        )
        made = await desk.purchases.reserve(order)
        if isinstance(made, Refused):
            return ModelReply(refused=made.reason, head=request.head, balance=made.balance)
        if not isinstance(made, Bought):
            usage = Usage(
                input_tokens=120_000, cache_write_tokens=120_000, output_tokens=made.max_tokens // 2
            )
            body = f'[{{"type":"text","text":"{request.turn}"}}]'
            given = Delivery(body=body, usage=usage, stop_reason="tool_use", request_id="r")
            made = Bought(reply_id=await desk.purchases.settle(made, given))
        reply = fakes.done() if self._night.is_over else fakes.acts(self._step(request.turn))
        return reply.model_copy(update={"head": made.reply_id})

    def _step(self, turn: int) -> ToolCall:
        """A call that begins a new phase: money that goes and moves nothing would end the build."""
        step = fakes.call("narrate", f"{turn}")
        outcome = ToolOutcome(tool_use_id=step.tool_use_id, phase=f"phase {turn}")
        self._world.outcomes[step.tool_use_id] = outcome
        return step


class NotingBuilds(Builds):
    """The real rows; what the founder is told of sleep is noted beside them."""

    night: Night

    @activity.defn
    @override
    async def record_status(self, request: StatusChange) -> None:
        await super().record_status(request)
        if request.event == "agent.sleeping" and request.wake_at:
            self.night.sleeps.append(request.wake_at)
        elif request.event == "agent.waking":
            self.night.wakes.append(activity.info().started_time)
        self.night.told.set()


@pytest.fixture
async def autumn(time_skipping) -> AsyncIterator[WorkflowEnvironment]:
    """A time-skipping server on the day that leaves the end of summer time in the middle of the test."""
    async with time_skipping() as environment:
        now = await environment.get_current_time()
        await environment.sleep(_begin(now) - now)
        yield environment


def _begin(now: datetime) -> datetime:
    """Noon, a dozen days before the next end of summer time that is far enough away."""
    first = date(now.year, 11, 1)
    sunday = first + timedelta(days=(6 - first.weekday()) % 7)
    noon = datetime.combine(sunday - timedelta(days=12), time(12), ZONE)
    return noon.astimezone(UTC) if noon > now else _begin(now.replace(year=now.year + 1, month=1, day=1))


async def test_thirty_days_of_spending_all(desk, settings, autumn):
    """Thirty nights are slept to their own local midnight, whatever wakes it early; no day is overdrawn.

    Within them summer time ends, the plan renews, it is woken for nothing once and given money once.
    """
    night = Night()
    begin = (await autumn.get_current_time()).astimezone(ZONE)
    renewal = begin.date() + timedelta(days=18)
    await desk.give(tier="bootstrapper", timezone=ZONE.key, renews_on=renewal, tool_calls=10_000)
    async with _working(autumn, desk, settings, night) as handle:
        for number in range(DAYS):
            sleeps = 1 + number + (number > EARLY) + (number > RICHER)
            await _asleep(handle, night, sleeps)
            if number in (EARLY, RICHER):
                await _wake_early(autumn, desk, handle, given=GIFT if number == RICHER else 0)
                await _asleep(handle, night, sleeps + 1)
            night.is_over = number == DAYS - 1
            await autumn.sleep(night.sleeps[-1] - await autumn.get_current_time())
        await ready(handle)
    midnights = [
        datetime.combine(begin.date() + timedelta(days=n + 1), time(), ZONE).astimezone(UTC)
        for n in range(DAYS)
    ]
    spent = await _days_of(desk)

    assert midnights == sorted({_midnight_before(sleep) for sleep in night.sleeps})
    assert all(sleep - _midnight_before(sleep) < budget.SHORTEST_SPREAD for sleep in night.sleeps)
    assert DAYS + 2 == len(night.sleeps) == len(night.wakes)
    assert {4, 5} == {midnight.hour for midnight in midnights}
    punctual = [woke for woke in night.wakes if any(_is_just_after(woke, each) for each in midnights)]
    assert DAYS == len(punctual)
    assert {begin.date() + timedelta(days=n) for n in range(DAYS + 1)} == set(spent)
    assert all(0 < day.spent <= day.allowance + day.added for day in spent.values())
    assert GIFT == spent[begin.date() + timedelta(days=RICHER)].added
    assert spent[begin.date() + timedelta(days=RICHER)].spent > spent[begin.date()].allowance
    assert spent[renewal].allowance == 30_000_000 // (_next_month(renewal) - renewal).days


def _midnight_before(moment: datetime) -> datetime:
    return datetime.combine(moment.astimezone(ZONE).date(), time(), ZONE).astimezone(UTC)


def _is_just_after(woke: datetime, midnight: datetime) -> bool:
    return timedelta(0) <= woke - midnight < timedelta(minutes=10)


def _next_month(day: date) -> date:
    return day.replace(year=day.year + day.month // 12, month=day.month % 12 + 1)


@asynccontextmanager
async def _working(
    environment: WorkflowEnvironment, desk: Any, settings: Settings, night: Night
) -> AsyncIterator[WorkflowHandle]:
    """A build of the spender, on a worker with the real ledger and rows; the rest are fakes."""
    world = fakes.World()
    builds = NotingBuilds(
        desk.engine,
        transcript=desk.transcript,
        purchases=desk.purchases,
        events=desk.events,
        time=SandboxTime(desk.engine, settings),
        settings=settings,
    )
    builds.night = night
    real = {ports.Builds: builds, ports.Model: Spender(desk, world, night), ports.Ledger: desk.ledger}
    adapters = [(port, real.get(port) or fake(world)) for port, fake in fakes.PAIRS]
    activities = [method for port, adapter in adapters for method in bind(port, adapter)]
    queue = str(uuid.uuid4())
    request = {"idea": "x", "user": desk.user, "max_tool_calls": 10_000}
    async with build_worker(environment.client, activities, task_queue=queue):
        yield await environment.client.start_workflow(
            "BuildWorkflow", request, id=f"build-{queue}", task_queue=queue
        )


async def _asleep(handle: WorkflowHandle, night: Night, sleeps: int) -> None:
    """Wait until it sleeps for the so-manieth time, its timer running."""
    async with asyncio.timeout(30):
        while len(night.sleeps) < sleeps:
            await night.told.wait()
            night.told.clear()
        while not (await handle.fetch_history()).events[-1].HasField("timer_started_event_attributes"):
            await asyncio.sleep(0)


async def _wake_early(
    environment: WorkflowEnvironment, desk: Any, handle: WorkflowHandle, *, given: int
) -> None:
    """Wake it some hours into its sleep, with more money or without."""
    await environment.sleep(timedelta(hours=2))
    if given:
        await desk.add(given, at=await environment.get_current_time())
    await handle.signal("wake")


async def _days_of(desk: Any) -> dict[date, Any]:
    """What the user's days allowed, and what was spent on each."""
    spent = func.coalesce(func.sum(ledger.c.cost), 0)
    query = (
        select(days.c.day, days.c.allowance, days.c.added, spent.label("spent"))
        .outerjoin(ledger, (ledger.c.user_id == days.c.user_id) & (ledger.c.day == days.c.day))
        .where(days.c.user_id == desk.user)
        .group_by(days.c.day, days.c.allowance, days.c.added)
    )
    async with desk.engine.connect() as connection:
        return {row.day: row for row in await connection.execute(query)}
