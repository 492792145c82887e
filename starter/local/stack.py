"""The stack: for each part its real service, where one is named, or its stand-in, started here or shared."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from starter.local import postgres, redis, s3, stand_ins, temporal
from starter.local.claim import Claim, claim, is_owned, running_parts
from starter.local.ground import Ground
from starter.local.home import Home
from starter.local.outside import DIRECTORY, outside_environment
from starter.local.parts import (
    ALL_PARTS,
    CHOSEN_BY,
    Part,
    PartFailed,
    PartStatus,
    Progress,
    Started,
    is_real,
    real_settings,
)
from starter.local.ports import Ports
from starter.local.probe import address_of, probe
from starter.local.supervisor import Supervisor
from starter.local.survey import look_at
from starter.local.upload_hosts import SETTING, upload_host

STARTERS: Mapping[Part, Callable[[Ground], Awaitable[Started]]] = {
    Part.POSTGRES: postgres.start,
    Part.REDIS: redis.start,
    Part.S3: s3.start,
    Part.TEMPORAL: temporal.start,
    Part.SANDBOX: stand_ins.start_sandbox,
    Part.MODEL: stand_ins.start_model,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Every part's settings, and who runs the stand-ins."""

    environment: Mapping[str, str]
    """All addresses and keys by the names of the settings; what the person set is handed on."""
    parts: tuple[PartStatus, ...]
    web_ui: str
    """Address of the Temporal Web UI; empty with a real server."""
    env_file: str
    """What to give the Temporal CLI as `--env-file`; empty with a real server."""
    home: Home
    supervisor: Supervisor | None
    """None when another process of this checkout runs the stand-ins."""

    async def wait(self) -> NoReturn:
        """Wait until a stand-in dies and raise its PartFailed, the others being stopped by then."""
        if self.supervisor is not None:
            await self.supervisor.wait()
        while await asyncio.to_thread(is_owned, self.home):  # noqa: ASYNC110 - the owner is no child of ours
            await asyncio.sleep(1)
        raise PartFailed("stack", why="the process that ran it has ended", fix="start it again")


def _silent(_line: str) -> None:
    return


@asynccontextmanager
async def open_stack(
    root: Path,
    *,
    data: Path | None = None,
    parts: frozenset[Part] = ALL_PARTS,
    progress: Progress = _silent,
    fast: bool = False,
    environment: Mapping[str, str] | None = None,
) -> AsyncGenerator[Stack]:
    """Start the stand-ins that are needed, or share those that this checkout runs already.

    `data` is the directory to keep everything in, `.nightshift` of the checkout if not given. With `fast`
    nothing is promised to survive a stop. `environment` stands for the person's settings. Raises PartFailed,
    also at the end when a stand-in died meanwhile.
    """
    outside = outside_environment(root) if environment is None else environment
    real = frozenset(part for part in parts if is_real(part, outside))
    home = await asyncio.to_thread(Home.open, data or root / DIRECTORY)
    claimed = await claim(home, progress=progress)
    supervisor = Supervisor(home.logs, on_start=claimed.note_child) if claimed.owned else None
    try:
        if supervisor is None:
            started = await _shared(home, parts - real)
        else:
            ports = Ports(home.directory / "ports.json")
            ground = Ground(
                root=root,
                home=home,
                ports=ports,
                supervisor=supervisor,
                progress=progress,
                fast=fast,
                upload_hosts=_upload_hosts(parts - real, ports, outside),
                usual_ports=data is None,
            )
            started = await _start_all(ground, parts - real)
            claimed.announce(started)
        statuses = await asyncio.gather(*(probe(part, outside, kind="real") for part in sorted(real)))
        with _told_of_deaths(supervisor):
            yield _compose(started, statuses, outside, home, supervisor)
    finally:
        await _give_up(claimed, supervisor)


@contextmanager
def _told_of_deaths(supervisor: Supervisor | None) -> Generator[None]:
    """Raise a stand-in's death in place of what it made fail, and when nothing else failed."""
    failed: Exception | None = None
    try:
        yield
    except Exception as error:  # noqa: BLE001 - raised again below, or named as the cause
        failed = error
    if supervisor is not None and supervisor.failure is not None:
        raise supervisor.failure from failed
    if failed is not None:
        raise failed


async def _give_up(claimed: Claim, supervisor: Supervisor | None) -> None:
    try:
        if supervisor is not None:
            await supervisor.stop()
            await asyncio.to_thread(shutil.rmtree, claimed.home.sockets(), ignore_errors=True)
    finally:
        claimed.release()


def _upload_hosts(needed: frozenset[Part], ports: Ports, outside: Mapping[str, str]) -> str:
    if Part.S3 in needed:
        return f"127.0.0.1:{ports.claim(Part.S3)}"
    return upload_host(outside.get(SETTING, "")) if Part.SANDBOX in needed else ""


async def _start(part: Part, ground: Ground) -> Started:
    try:
        return await STARTERS[part](ground)
    except PartFailed:
        raise
    except Exception as error:
        raise PartFailed(
            part,
            why=f"it could not be started: {type(error).__name__}: {error}",
            fix=f"mend that, or set {CHOSEN_BY[part][0]} to a service of your own",
        ) from error


async def _start_all(ground: Ground, needed: frozenset[Part]) -> dict[Part, Started]:
    tasks = {part: asyncio.create_task(_start(part, ground)) for part in sorted(needed)}
    try:
        await asyncio.gather(*tasks.values())
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
    return {part: task.result() for part, task in tasks.items()}


async def _shared(home: Home, needed: frozenset[Part]) -> dict[Part, Started]:
    running = await asyncio.to_thread(running_parts, home)
    for part in sorted(needed - running.keys()):
        raise PartFailed(
            part,
            why="the stack that this checkout runs already was started without its stand-in",
            fix="give this process the same settings as that one, or stop that one first",
        )
    for status in await asyncio.gather(*(look_at(running[part], home=home) for part in sorted(needed))):
        if not status.healthy:
            raise PartFailed(status.name, why="the running stack's stand-in is not well", fix=status.fix)
    return {part: running[part] for part in needed}


def _compose(
    started: Mapping[Part, Started],
    real: list[PartStatus],
    outside: Mapping[str, str],
    home: Home,
    supervisor: Supervisor | None,
) -> Stack:
    environment: dict[str, str] = {}
    statuses = {status.name: status for status in real}
    for part, found in started.items():
        environment |= found.environment
        statuses[part] = PartStatus(
            name=part,
            kind="stand-in",
            address=address_of(part, found.environment),
            version=found.version,
            healthy=True,
        )
    for status in real:
        environment |= real_settings(status.name, outside)
    ui = started.get(Part.TEMPORAL)
    return Stack(
        environment=environment,
        parts=tuple(statuses[part] for part in Part if part in statuses),
        web_ui=ui.web_ui if ui else "",
        env_file=ui.env_file if ui else "",
        home=home,
        supervisor=supervisor,
    )
