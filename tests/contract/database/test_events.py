"""Watchers can come late; a build never waits for them."""

import asyncio
import io
import logging
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace

import pytest
from redis.asyncio import Redis
from rich.console import Console
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse
from temporalio.client import WorkflowExecutionStatus
from temporalio.testing import ActivityEnvironment

from activities.events import KEPT, EventStream, _key
from starter.watching import ASKED, show


async def test_late_watcher_reads_all_and_goes_on_from_an_id(events):
    """Events are replayed in order from any id, with their fields and time."""
    build_id = uuid.uuid4().hex
    for number in range(3):
        await events.publish(build_id, "agent.tool.called", number=number, text="é\n", wake_at=None)
    read = await events.read(build_id)

    assert [event.fields["number"] for event in read] == [0, 1, 2]
    assert read[0].fields == {"number": 0, "text": "é\n", "wake_at": None}
    assert read[0].type == "agent.tool.called"
    assert abs(read[0].at - datetime.now(UTC)) < timedelta(minutes=1)
    assert await events.read(build_id, after=read[1].id) == [read[2]]
    assert await events.read(build_id, after=read[2].id) == []


async def test_watcher_waits_for_the_next_event(events):
    """A waiting watcher gets an event when it is published, and nothing when its time is up."""
    build_id = uuid.uuid4().hex
    waiting = asyncio.create_task(events.read(build_id, wait=timedelta(seconds=20)))
    await asyncio.sleep(0)
    await events.publish(build_id, "agent.thinking")

    assert [event.type for event in await waiting] == ["agent.thinking"]
    assert await events.read(uuid.uuid4().hex, wait=timedelta(milliseconds=5)) == []


async def test_stream_ends_some_time(events):
    """A build's events are forgotten some days after the last one."""
    build_id = uuid.uuid4().hex
    await events.publish(build_id, "agent.thinking")
    left = await events._redis.ttl(_key(build_id))

    assert 0 < left <= KEPT.total_seconds()


async def test_build_goes_on_without_redis(caplog: pytest.LogCaptureFixture):
    """While Redis is away events are dropped at once, and it is said once."""
    away = Redis(host="127.0.0.1", port=9, socket_connect_timeout=1)
    stream = EventStream(away)
    with caplog.at_level(logging.WARNING, logger="activities.events"):
        for _ in range(50):
            await stream.publish("b", "agent.thinking", text="x")
        stream._quiet_until = 0.0
        await stream.publish("b", "agent.thinking", text="x")
    await away.aclose()

    assert len(caplog.records) == 1
    assert "Redis is away" in caplog.text


async def test_a_late_watcher_learns_how_many_events_are_gone(events):
    """What was trimmed is counted; of a build that nobody heard of nothing is gone."""
    build_id = uuid.uuid4().hex
    for _ in range(5):
        await events.publish(build_id, "agent.thinking")
    kept = await events.gone(build_id)
    await events._redis.xtrim(_key(build_id), maxlen=2, approximate=False)

    assert (0, 3) == (kept, await events.gone(build_id))
    assert 0 == await events.gone("unheard of")


async def test_an_event_names_the_attempt_that_published_it(events):
    """A watcher can tell a reply that is told anew from the one before."""
    build_id = uuid.uuid4().hex
    for attempt in (1, 2):
        environment = ActivityEnvironment()
        environment.info = replace(environment.info, activity_id="5", attempt=attempt)
        await environment.run(partial(events.publish, build_id, "agent.thinking", turn=1))

    assert ["5.1", "5.2"] == [event.fields["call"] for event in await events.read(build_id)]


async def test_whoever_watches_late_is_told_what_is_missing(events, settings):
    """One line before the events that are left; then it goes on as it would."""
    build_id = uuid.uuid4().hex
    for number in range(5):
        await events.publish(build_id, "agent.waking", text=f"event {number}")
    await events._redis.xtrim(_key(build_id), maxlen=2, approximate=False)
    environment = {"REDIS_URL": settings.redis_url.get_secret_value()}
    console = Console(file=io.StringIO(), width=200)
    await events.publish(build_id, ASKED, text="Mend the key.")
    asked = await show(Ended(), build_id, environment, console, until_asked=True)
    first, *rest = console.file.getvalue().splitlines()

    assert "Mend the key." == asked
    assert "3 earlier events of this build are gone; `timeline` tells its last steps" == first
    assert ["* event 3", "* event 4", "? Mend the key."] == [line.partition(" ")[2] for line in rest]


class Ended:
    """A build that is over."""

    async def describe(self) -> SimpleNamespace:
        told = DescribeWorkflowExecutionResponse()
        return SimpleNamespace(status=WorkflowExecutionStatus.COMPLETED, raw_description=told)
