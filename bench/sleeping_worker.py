"""The worker of `bench/sleep.py`: the real one, but its sandboxes are names and have no files to save.

Ten thousand real ones fit on no machine that the bench is for.
"""

import asyncio

from temporalio import activity
from typing_extensions import override

from activities.settings import Settings
from starter.attach import TASK_QUEUE
from starter.connect import connect
from starter.exits import run, until_told
from starter.janitor_schedule import keep_janitor
from worker import bind, build_worker, open_activities
from workflows import ports
from workflows.files import (
    ConnectedSandbox,
    CreateSandbox,
    RestorePoint,
    SandboxRef,
    SandboxStep,
    TakeSnapshot,
)


class Names(ports.Sandboxes):
    """Gives sandboxes that are nothing; no build of the bench comes to a tool call."""

    @activity.defn
    @override
    async def create_sandbox(self, request: CreateSandbox) -> SandboxRef:
        name = f"{request.build_id}-{request.generation}"
        home = "/nowhere"
        return SandboxRef(sandbox_id=name, generation=request.generation, home=home, workspace=home)

    @activity.defn
    @override
    async def pause_sandbox(self, request: SandboxStep) -> None:
        del request

    @activity.defn
    @override
    async def connect_sandbox(self, request: SandboxStep) -> ConnectedSandbox:
        del request
        return ConnectedSandbox(intact=True)

    @activity.defn
    @override
    async def kill_sandbox(self, request: SandboxStep) -> None:
        del request


class NoFiles(ports.Snapshots):
    """Saves the files of a sandbox that is nothing."""

    @activity.defn
    @override
    async def take_snapshot(self, request: TakeSnapshot) -> RestorePoint:
        return RestorePoint(restore_point=request.sandbox.generation, key="none")


async def main() -> int:
    """Work until told to end."""
    client = await connect()
    pretended = bind(ports.Sandboxes, Names()) + bind(ports.Snapshots, NoFiles())
    replaced = {each.__name__ for each in pretended}
    async with open_activities(Settings.from_env()) as real:
        activities = [each for each in real if each.__name__ not in replaced] + pretended
        async with build_worker(client, activities, task_queue=TASK_QUEUE):
            await keep_janitor(client)
            await until_told(asyncio.Event().wait())
    return 0


if __name__ == "__main__":
    run(main())
