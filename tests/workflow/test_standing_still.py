"""An attempt whose worker stood still asks whether it still counts, before it does what another has done."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from activities.database import open_database
from activities.heartbeat import LATE_SECONDS, attend, heartbeating
from activities.objects import Objects
from activities.sandbox_client import SandboxClient
from activities.settings import Settings
from workflows.errors import FailureType

Step = Callable[[], Awaitable[None]]
NOWHERE = Settings.model_validate(
    {
        "database_url": "postgresql://127.0.0.1:1/none",
        "e2b_api_url": "http://127.0.0.1:1",
        "e2b_api_key": "e2b_0",
    }
)
"""Servers that are not there."""
GIVEN_UP = "This attempt stood still and was given up; another one has taken its place."


async def begin_a_transaction() -> None:
    async with open_database(NOWHERE) as database, database.begin():
        pass


async def ask_the_provider() -> None:
    await SandboxClient(NOWHERE).kill("sandbox")


async def delete_an_object() -> None:
    await Objects(None, bucket="b", is_private=True).delete("key")


@workflow.defn(sandboxed=False)
class Waits:
    """Waits for one attempt at one activity."""

    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(
            "stand_still",
            start_to_close_timeout=timedelta(days=1),
            retry_policy=RetryPolicy(maximum_attempts=1),
        )


class StandsStill:
    """An attempt on a clock of its own, which does not beat by itself."""

    def __init__(self, step: Step = attend) -> None:
        self.step = step
        self.now = 0.0
        self.began, self.goes_on, self.ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.error: ApplicationError | None = None

    @activity.defn
    async def stand_still(self) -> None:
        async with heartbeating(timedelta(days=1), stopwatch=lambda: self.now):
            self.began.set()
            await self.goes_on.wait()
            try:
                await self.step()
            except ApplicationError as error:
                self.error = error
            self.ended.set()


@pytest.mark.parametrize(
    ("seconds", "terminated", "said"),
    [
        (LATE_SECONDS + 1, False, None),
        (LATE_SECONDS + 1, True, GIVEN_UP),
        (LATE_SECONDS / 2, True, None),
    ],
)
async def test_who_stood_still_asks(
    shared_environment, seconds: float, *, terminated: bool, said: str | None
):
    """The server knows whether an attempt counts; while its beats are in time it is not asked."""
    attempt, queue, client = StandsStill(), str(uuid.uuid4()), shared_environment.client
    async with Worker(client, task_queue=queue, workflows=[Waits], activities=[attempt.stand_still]):
        handle = await client.start_workflow(Waits.run, id=queue, task_queue=queue)
        await attempt.began.wait()
        if terminated:
            await handle.terminate()
        attempt.now += seconds
        attempt.goes_on.set()
        await attempt.ended.wait()

    assert said == (attempt.error and attempt.error.message)
    assert attempt.error is None or attempt.error.type == FailureType.RETRYABLE


@pytest.mark.parametrize("step", [begin_a_transaction, ask_the_provider, delete_an_object])
async def test_whatever_another_may_have_done_asks_first(shared_environment, step: Step):
    """Nothing is written, asked or deleted by who was given up: here each would fail otherwise."""
    attempt, queue, client = StandsStill(step), str(uuid.uuid4()), shared_environment.client
    async with Worker(client, task_queue=queue, workflows=[Waits], activities=[attempt.stand_still]):
        handle = await client.start_workflow(Waits.run, id=queue, task_queue=queue)
        await attempt.began.wait()
        await handle.terminate()
        attempt.now += LATE_SECONDS + 1
        attempt.goes_on.set()
        async with asyncio.timeout(20):
            await attempt.ended.wait()

    assert attempt.error is not None
    assert GIVEN_UP == attempt.error.message


async def test_outside_an_activity_nobody_is_asked():
    """What a starter does is no attempt."""
    await attend()
