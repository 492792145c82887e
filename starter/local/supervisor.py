"""Child processes: started with a readiness limit, watched, stopped in order, never left behind.

On Linux the kernel sends each child its own stop signal when the supervisor dies, however it dies.
macOS has no such signal: there a child left by a kill -9 is ended by the next start (see `claim.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

from starter.local.parts import PartFailed

PR_SET_PDEATHSIG = 1
LARGEST_LOG = 5_000_000
"""Bytes; a longer log is set aside as NAME.log.1 at the next start."""
TAIL = 2_000
"""Bytes of a failed child's log that the error shows."""
HANDED_ON = ("HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "TZ", "USER", "XDG_CACHE_HOME")


def plain_environment() -> dict[str, str]:
    """What a child may see of our environment: nothing that could hold a credential."""
    return {name: os.environ[name] for name in HANDED_ON if name in os.environ}


async def _at_once(_pid: int) -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A child process, and how to tell that it is ready and how it wants to be stopped."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=plain_environment, repr=False)
    cwd: Path | None = None
    user: int | None = None
    """User and group id to run as, when we are root."""
    group: int | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_limit: timedelta = timedelta(seconds=15)
    ready: Callable[[int], Awaitable[bool]] = _at_once
    """Asked with the process id until it answers True; may raise PartFailed."""
    ready_limit: timedelta = timedelta(seconds=60)
    stage: int = 0
    """Children of a higher stage are stopped first; those of one stage side by side."""
    fix: str = "read the log named above"


@dataclass(frozen=True, slots=True)
class Child:
    """A service that was started."""

    service: Service
    process: asyncio.subprocess.Process
    log: Path


def _bound_to_parent(stop_signal: signal.Signals) -> Callable[[], None] | None:
    """What a child runs before exec, so that the kernel stops it when we die; None on macOS."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def in_child() -> None:
        prctl(PR_SET_PDEATHSIG, int(stop_signal), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(127)

    return in_child


async def spawn(service: Service, *, log: Path) -> asyncio.subprocess.Process:
    """Start a child in its own session, its output appended to the log; OSError if it cannot be run."""
    output = _open_log(log)
    try:
        return await asyncio.create_subprocess_exec(
            *service.argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=service.cwd,
            env=dict(service.environment),
            start_new_session=True,
            preexec_fn=_bound_to_parent(service.stop_signal),
            user=service.user,
            group=service.group,
            extra_groups=None if service.user is None else [],
        )
    finally:
        os.close(output)


def _open_log(log: Path) -> int:
    if size_of(log) > LARGEST_LOG:
        log.replace(log.with_suffix(".log.1"))
    return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def size_of(log: Path) -> int:
    """Bytes of a log; none when there is no such file."""
    return log.stat().st_size if log.exists() else 0


async def end(process: asyncio.subprocess.Process, *, stop_signal: signal.Signals, limit: timedelta) -> None:
    """Stop a child with its own signal; after the limit its whole session is killed."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(stop_signal)
    try:
        async with asyncio.timeout(limit.total_seconds()):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def tail(log: Path, *, start: int = 0) -> str:
    """The last lines of a log, nothing from before the byte `start`."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(min(start, size), size - TAIL))
            return file.read().decode(errors="replace").strip()
    except FileNotFoundError:
        return ""


class Supervisor:
    """Holds the children of one stack; the first that dies by itself stops all the others."""

    def __init__(self, logs: Path, *, on_start: Callable[[int], None] = lambda _pid: None) -> None:
        self._logs = logs
        self._on_start = on_start
        self._children: list[Child] = []
        self._watchers: list[asyncio.Task[None]] = []
        self._stopping = False
        self._stopped: asyncio.Task[None] | None = None
        self._failure: asyncio.Future[PartFailed] = asyncio.get_running_loop().create_future()

    @property
    def failure(self) -> PartFailed | None:
        """The death that stopped everything, if there was one."""
        return self._failure.result() if self._failure.done() else None

    async def start(self, service: Service) -> Child:
        """Start a child and wait until it is ready; PartFailed with the tail of its log if it never is."""
        log = self._logs / f"{service.name}.log"
        begin = size_of(log)
        try:
            process = await spawn(service, log=log)
        except OSError as error:
            raise PartFailed(
                service.name, why=f"cannot run {service.argv[0]}: {error}", fix=service.fix
            ) from error
        child = Child(service, process, log)
        self._children.append(child)
        self._on_start(process.pid)
        await self._until_ready(child, begin)
        self._watchers.append(asyncio.create_task(self._watch(child, begin)))
        return child

    async def wait(self) -> NoReturn:
        """Wait until a child dies; raises its PartFailed, the others being stopped by then."""
        failure = await asyncio.shield(self._failure)
        await self.stop()
        raise failure

    async def stop(self) -> None:
        """Stop the children stage by stage, the highest first; safe to call twice."""
        if self._stopped is None:
            self._stopped = asyncio.create_task(self._stop())
        await asyncio.shield(self._stopped)

    async def _stop(self) -> None:
        self._stopping = True
        for stage in sorted({child.service.stage for child in self._children}, reverse=True):
            await asyncio.gather(
                *(
                    end(child.process, stop_signal=child.service.stop_signal, limit=child.service.stop_limit)
                    for child in self._children
                    if child.service.stage == stage
                )
            )
        await asyncio.gather(*self._watchers)

    async def _until_ready(self, child: Child, begin: int) -> None:
        limit = child.service.ready_limit.total_seconds()
        deadline, pause = time.monotonic() + limit, 0.01
        while not await child.service.ready(child.process.pid):
            if child.process.returncode is not None:
                raise self._death(child, begin, "ended before it was ready")
            if time.monotonic() > deadline:
                raise self._death(child, begin, f"was not ready within {limit:.0f} s")
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.2)
        if child.process.returncode is not None:
            raise self._death(child, begin, "ended while something else answered in its place")

    async def _watch(self, child: Child, begin: int) -> None:
        code = await child.process.wait()
        if self._stopping or self._failure.done():
            return
        self._failure.set_result(self._death(child, begin, f"ended by itself with status {code}"))
        self._stopped = self._stopped or asyncio.create_task(self._stop())

    def _death(self, child: Child, begin: int, what: str) -> PartFailed:
        last = tail(child.log, start=begin).replace("\n", "\n    ") or "(it wrote nothing)"
        return PartFailed(
            child.service.name, why=f"{what}. The end of {child.log}:\n    {last}", fix=child.service.fix
        )
