"""A worker with fakes on a time-skipping server."""

import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from tests import fakes
from tests.histories import chain, replay
from worker import bind, build_worker

Start = Callable[[], AbstractAsyncContextManager[WorkflowEnvironment]]
OpenBench = Callable[[fakes.World], AbstractAsyncContextManager["Bench"]]


@dataclass
class Bench:
    """A worker with fakes, and the way to start a build on it."""

    environment: WorkflowEnvironment
    task_queue: str
    started: list[WorkflowHandle] = field(default_factory=list)

    @property
    def client(self) -> Client:
        return self.environment.client

    async def start(self, request: Any = None, *, more: Sequence[Any] = (), **options: Any) -> WorkflowHandle:
        given = {"idea": "a habit tracker"} if request is None else request
        handle = await self.run_other("BuildWorkflow", [given, *more], **options)
        self.started.append(handle)
        return handle

    async def run_other(self, name: str, given: Sequence[Any], **options: Any) -> WorkflowHandle:
        return await self.client.start_workflow(
            name, args=given, id=f"build-{uuid.uuid4()}", task_queue=self.task_queue, **options
        )


@asynccontextmanager
async def working(environment: WorkflowEnvironment, world: fakes.World) -> AsyncIterator[Bench]:
    """A worker with fakes; every build that was started on it is replayed from its history at the end."""
    activities = [method for port, fake in fakes.PAIRS for method in bind(port, fake(world))]
    queue = str(uuid.uuid4())
    bench = Bench(environment, queue)
    async with build_worker(environment.client, activities, task_queue=queue):
        yield bench
    for handle in bench.started:
        async for history in chain(environment.client, handle):
            await replay(history)
        with suppress(RPCError):  # it has ended
            await environment.client.get_workflow_handle(handle.id).terminate()


@pytest.fixture(scope="session")
async def shared_environment(time_skipping: Start) -> AsyncIterator[WorkflowEnvironment]:
    """One server for the builds that never sleep."""
    async with time_skipping() as environment:
        yield environment


@pytest.fixture
def bench(shared_environment: WorkflowEnvironment) -> OpenBench:
    """Opens a worker for a world of fakes."""
    return partial(working, shared_environment)


@pytest.fixture(scope="session")
async def skipping_environment(time_skipping: Start) -> AsyncIterator[WorkflowEnvironment]:
    """One server whose clock a test may move; it is for all its builds, so none outlives its test."""
    async with time_skipping() as environment:
        yield environment


@pytest.fixture
def sleeping_bench(skipping_environment: WorkflowEnvironment) -> OpenBench:
    """Opens a worker for a world of fakes in which time may pass."""
    return partial(working, skipping_environment)
