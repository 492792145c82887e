"""An attempt whose worker stood still asks whether it still counts, before it does what another has done."""

import asyncio
import uuid
from datetime import timedelta

import pytest
from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from activities.heartbeat import LATE_SECONDS, attend, heartbeating
from workflows.errors import FailureType

GIVEN_UP = "This attempt stood still and was given up; another one has taken its place."


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

    def __init__(self) -> None:
        self.now = 0.0
        self.began, self.goes_on, self.ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.error: ApplicationError | None = None

    @activity.defn
    async def stand_still(self) -> None:
        async with heartbeating(timedelta(days=1), stopwatch=lambda: self.now):
            self.began.set()
            await self.goes_on.wait()
            try:
                await attend()
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


async def test_outside_an_activity_nobody_is_asked():
    """What a starter does is no attempt."""
    await attend()
