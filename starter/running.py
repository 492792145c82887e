"""A whole Nightshift: the stack, its database brought up to date, and a worker."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from temporalio.client import Client

from starter.attach import ROOT, data_directory
from starter.connect import connect
from starter.health import check_parts, check_settings
from starter.local.outside import outside_environment
from starter.local.parts import Part, Progress
from starter.local.stack import Stack, open_stack
from starter.worker_process import WorkerProcess


@dataclass(frozen=True, slots=True)
class Nightshift:
    """A stack with a worker, and a client to it."""

    stack: Stack
    client: Client
    environment: Mapping[str, str] = field(repr=False)
    """What a process needs to reach every part."""


def environment_of(stack: Stack) -> dict[str, str]:
    """The stack's settings, and which of its parts are stand-ins."""
    stand_ins = {part.name for part in stack.parts if part.kind == "stand-in"}
    return {
        **stack.environment,
        "NIGHTSHIFT_INSTALLATION_ID": stack.home.installation,
        "NIGHTSHIFT_LOCAL_MODEL": str(Part.MODEL in stand_ins).lower(),
        "NIGHTSHIFT_LOCAL_SANDBOX": str(Part.SANDBOX in stand_ins).lower(),
    }


@asynccontextmanager
async def open_nightshift(
    root: Path = ROOT,
    *,
    data: Path | None = None,
    progress: Progress,
    fast: bool = False,
    given: Mapping[str, str] | None = None,
) -> AsyncGenerator[Nightshift]:
    """Start what does not run yet, share what this checkout runs already.

    Raises PartFailed, and WrongSettings before anything is started.
    `given` stands for the person's environment and `.env`.
    """
    check_settings(outside_environment(root) if given is None else given)
    where = data or data_directory()
    async with open_stack(root, data=where, progress=progress, fast=fast, environment=given) as stack:
        check_parts(stack.parts, say=progress)
        environment = environment_of(stack)
        client = await connect(environment)
        async with AsyncExitStack() as exits:
            if stack.supervisor is not None:
                worker = WorkerProcess(client, environment, log=stack.home.logs / "worker.log", say=progress)
                await exits.enter_async_context(worker.kept())
            yield Nightshift(stack, client, environment)
