"""A whole Nightshift: the stack, its database brought up to date, and a worker."""

import shutil
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from temporalio.client import Client

from activities.runner.devtools import PROGRAMS
from activities.settings import Settings
from starter.attach import ROOT, data_directory
from starter.connect import connect
from starter.health import check_parts, check_settings
from starter.local.outside import outside_environment
from starter.local.parts import CHOSEN_BY, PREFIX, Part, Progress
from starter.local.stack import Stack, open_stack
from starter.worker_process import WorkerProcess


@dataclass(frozen=True, slots=True)
class Nightshift:
    """A stack with a worker, and a client to it."""

    stack: Stack
    client: Client
    environment: Mapping[str, str] = field(repr=False)
    """What a process needs to reach every part."""


NETWORK = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""How this machine reaches others, in capitals or not."""
LOOPBACK = "127.0.0.1,localhost,::1"
"""Where the stand-ins are; no proxy leads there."""


def environment_of(stack: Stack, outside: Mapping[str, str]) -> dict[str, str]:
    """What the person set of what belongs to no part, the stack's settings, and which parts are stand-ins."""
    stand_ins = {part.name for part in stack.parts if part.kind == "stand-in"}
    return {
        **_network(outside),
        **{name: outside[name] for name in Settings.variables() if outside.get(name) and _is_general(name)},
        **stack.environment,
        "NIGHTSHIFT_LOCAL_MODEL": str(Part.MODEL in stand_ins).lower(),
        "NIGHTSHIFT_LOCAL_SANDBOX": str(Part.SANDBOX in stand_ins).lower(),
    }


def _is_general(name: str) -> bool:
    return not name.startswith(tuple(PREFIX.values())) and name not in set().union(*CHOSEN_BY.values())


def _network(outside: Mapping[str, str]) -> dict[str, str]:
    given = {name: value for name, value in outside.items() if value and name.upper() in NETWORK}
    if any("PROXY" in name.upper() for name in given):
        named = given.pop("no_proxy", "") or given.get("NO_PROXY", "")
        given["NO_PROXY"] = f"{named},{LOOPBACK}".lstrip(",")
    return given


def shortcomings(stack: Stack) -> list[str]:
    """What builds on this machine will lack, and how to add it."""
    if any(part.name is Part.SANDBOX and part.kind == "real" for part in stack.parts):
        return []
    if any(shutil.which(program) for program in PROGRAMS):
        return []
    return [f"no browser on this machine: builds take no screenshots. To have them, install {PROGRAMS[0]}"]


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
    outside = outside_environment(root) if given is None else given
    check_settings(outside)
    where = data or data_directory()
    async with open_stack(root, data=where, progress=progress, fast=fast, environment=outside) as stack:
        check_parts(stack.parts, say=progress)
        for line in shortcomings(stack):
            progress(line)
        environment = environment_of(stack, outside)
        client = await connect(environment)
        async with AsyncExitStack() as exits:
            if stack.supervisor is not None:
                worker = WorkerProcess(client, environment, log=stack.home.logs / "worker.log", say=progress)
                await exits.enter_async_context(worker.kept())
            yield Nightshift(stack, client, environment)
