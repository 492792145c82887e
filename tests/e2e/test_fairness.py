"""Fair shares on the stack's own server, as `temporal-dev.yaml` sets it up."""

import asyncio
import uuid

import pytest
from temporalio import activity
from temporalio.common import Priority
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker
from typing_extensions import override

from tests import fakes
from tests.histories import chain
from worker import bind, build_worker
from workflows.errors import FailureType
from workflows.fairness import share_of
from workflows.models import PrepareBuild, PreparedBuild

CROWD, FEW = 25, 2


class Refusing(fakes.Builds):
    """Notes who is served, and lets no build begin, so that each has this one step."""

    def __init__(self) -> None:
        super().__init__(fakes.World())
        self.served: list[str] = []

    @activity.defn
    @override
    async def prepare_build(self, request: PrepareBuild) -> PreparedBuild:
        self.served.append(request.request.user)
        raise ApplicationError("no", type=FailureType.AGENT_DISABLED, non_retryable=True)


@pytest.fixture
def queue():
    """A line of work of its own."""
    return f"fair-{uuid.uuid4().hex[:8]}"


async def test_few_builds_do_not_wait_for_a_crowd(everything, queue):
    """One slow worker, many steps of one user waiting, then few of another: they take turns."""
    client, builds = everything.client, Refusing()
    async with build_worker(client, [], task_queue=queue, disable_eager_activity_execution=True):
        crowd = await _start(client, queue, "crowd", CROWD)
        await _waiting(crowd)
        few = await _start(client, queue, "few", FEW)
        await _waiting(few)
        async with Worker(
            client, task_queue=queue, activities=[builds.prepare_build], max_concurrent_activities=1
        ):
            await asyncio.gather(*(each.result() for each in (*crowd, *few)), return_exceptions=True)

    assert CROWD + FEW == len(builds.served)
    last = CROWD + FEW - 1 - builds.served[::-1].index("few")
    assert last < 3 * FEW, builds.served


async def test_each_step_of_a_build_is_in_its_users_line(everything, queue):
    """However it was started: all that follows prepare_build carries the user and the weight of the plan."""
    world = fakes.World(replies=iter([fakes.acts(fakes.call("bash", "one")), fakes.done()]))
    activities = [method for port, fake in fakes.PAIRS for method in bind(port, fake(world))]
    async with build_worker(everything.client, activities, task_queue=queue):
        handle = await everything.client.start_workflow(
            "BuildWorkflow", {"idea": "x", "user": "ada", "turns_per_run": 1}, id=queue, task_queue=queue
        )
        await handle.result()

    shares = [share async for share in _shares(everything.client, handle)]
    assert Priority() == shares[0]
    assert {share_of("ada", fakes.WEIGHT)} == set(shares[1:])
    assert len(shares) > 10


async def _start(client, queue, user, count):
    return await asyncio.gather(*(
        client.start_workflow(
            "BuildWorkflow", {"idea": "x", "user": user},
            id=f"{queue}-{user}-{n}", task_queue=queue, priority=share_of(user),
        )
        for n in range(count)
    ))  # fmt: skip


async def _waiting(builds):
    """Wait until the first step of each build waits for a worker."""
    for build in builds:
        while not (await build.describe()).raw_description.pending_activities:
            await asyncio.sleep(0.02)


async def _shares(client, handle):
    """The priority of each activity, over all runs of a build."""
    async for history in chain(client, handle):
        for event in history.events:
            if event.HasField("activity_task_scheduled_event_attributes"):
                told = event.activity_task_scheduled_event_attributes.priority
                yield Priority(
                    fairness_key=told.fairness_key or None, fairness_weight=told.fairness_weight or None
                )
