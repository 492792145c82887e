"""Programs that are fetched or built once for a user: one lock each, made beside their place and renamed.

It knows how to make an artefact safely and how to tell of it, not what the programs are for.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from starter.local.parts import PartFailed, Progress
from starter.local.supervisor import Service, end, spawn, tail

TELL_EVERY = 5.0
"""Seconds between two lines of progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefact:
    """Something made once for all checkouts of a user: a program or a directory of files."""

    name: str
    version: str
    expected: timedelta
    """How long making it takes on a small quiet machine."""

    @property
    def file_name(self) -> str:
        """Name, version, system and architecture: what one machine's cache tells apart."""
        return f"{self.name}-{self.version}-{platform_name()}"


def platform_name() -> str:
    """The system and the architecture, in Go's words."""
    machine = platform.machine().lower()
    return f"{sys.platform}-{ {'x86_64': 'amd64', 'aarch64': 'arm64'}.get(machine, machine) }"


def cache_directory() -> Path:
    """The user's cache of built programs; honours XDG_CACHE_HOME."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    directory = (Path(named) if named else Path.home() / ".cache") / "nightshift"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    (directory / "bin").mkdir(mode=0o755, exist_ok=True)
    return directory


def cached(artefact: Artefact) -> Path | None:
    """Where the artefact is, if it was made before."""
    place = cache_directory() / "bin" / artefact.file_name
    return place if place.exists() else None


async def make(artefact: Artefact, build: Callable[[Path], Awaitable[Path]], *, progress: Progress) -> Path:
    """The artefact, made now if need be: `build` gets an empty directory and returns what to keep."""
    async with _locked(artefact, progress=progress):
        if found := cached(artefact):
            return found
        place = cache_directory() / "bin" / artefact.file_name
        prefix = f"build-{artefact.file_name}-"
        for left in cache_directory().glob(f"{prefix}*"):
            await asyncio.to_thread(shutil.rmtree, left, ignore_errors=True)
        scratch = Path(tempfile.mkdtemp(prefix=prefix, dir=cache_directory()))
        try:
            (await build(scratch)).rename(place)
        finally:
            await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
        return place


async def run_building(
    artefact: Artefact,
    argv: tuple[str, ...],
    *,
    environment: Mapping[str, str],
    scratch: Path,
    progress: Progress,
    fix: str,
    limit: timedelta = timedelta(minutes=30),
) -> None:
    """Run one command of a build, telling how far it is; PartFailed with the end of its output."""
    log = scratch / "build.log"
    service = Service(name=artefact.name, argv=argv, environment=environment, cwd=scratch)
    try:
        process = await spawn(service, log=log)
    except OSError as error:
        raise PartFailed(artefact.name, why=f"cannot run {argv[0]}: {error}", fix=fix) from error
    telling = asyncio.create_task(_tell(artefact, progress=progress))
    try:
        async with asyncio.timeout(limit.total_seconds()):
            code = await process.wait()
    except TimeoutError as error:
        raise PartFailed(artefact.name, why=f"building it took over {limit}", fix=fix) from error
    finally:
        telling.cancel()
        await end(process, stop_signal=signal.SIGTERM, limit=timedelta(seconds=2))
        _kill_session(process.pid)
    if code != 0:
        raise PartFailed(artefact.name, why=f"building it failed:\n    {tail(log)}", fix=fix)


async def _tell(artefact: Artefact, *, progress: Progress) -> None:
    begin = time.monotonic()
    what, expected = f"{artefact.name} {artefact.version}", artefact.expected.total_seconds()
    progress(f"getting {what}, once for this user: about {expected:.0f} s")
    while True:
        await asyncio.sleep(TELL_EVERY)
        passed = time.monotonic() - begin
        far = f"of about {expected:.0f} s" if passed < expected else "so far, a slow machine"
        progress(f"getting {what}: {passed:.0f} s {far}")


def _kill_session(session: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(session, signal.SIGKILL)


@contextlib.asynccontextmanager
async def _locked(artefact: Artefact, *, progress: Progress) -> AsyncGenerator[None]:
    descriptor = os.open(cache_directory() / f"{artefact.file_name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        begin, told = time.monotonic(), 0.0
        while not _try_lock(descriptor):
            if time.monotonic() - told >= TELL_EVERY:
                told = time.monotonic()
                progress(f"another process is getting {artefact.name}: {told - begin:.0f} s so far")
            await asyncio.sleep(0.2)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
