"""Who runs the stack of a data directory: one lock, and what its holder tells those who come second.

The lock is held by a living process or by none, so there is no stale one. What a kill -9 leaves behind
(children that are still stopping; on macOS children that nobody told) is ended here before anything is
started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from starter.local.home import Home, read_table, write_private
from starter.local.parts import Part, PartFailed, Progress, Started
from starter.local.processes import started_at

STOPPING_LIMIT = 20.0
"""Seconds that a child of a dead owner gets to end by itself, and again after it was told."""


@dataclass(slots=True)
class Claim:
    """The running of the stack of one data directory; only its holder starts and stops parts."""

    home: Home
    descriptor: int | None
    children: dict[str, str]
    """Process id → when it started."""

    @property
    def owned(self) -> bool:
        """Whether this process runs the stack."""
        return self.descriptor is not None

    def note_child(self, pid: int) -> None:
        """Remember a child, so that the next owner can end it if we die."""
        self.children[str(pid)] = started_at(pid)
        self._publish(parts=[])

    def announce(self, parts: Mapping[Part, Started]) -> None:
        """Tell others that the stack is up, and the settings that lead to its stand-ins."""
        self._publish(
            ready=True,
            parts=[
                {
                    "part": started.part,
                    "address": started.address,
                    "version": started.version,
                    "environment": dict(started.environment),
                    "web_ui": started.web_ui,
                    "env_file": started.env_file,
                }
                for started in parts.values()
            ],
        )

    def release(self) -> None:
        """Give the stack up, its children being stopped."""
        if self.descriptor is not None:
            _state(self.home).unlink(missing_ok=True)
            os.close(self.descriptor)
            self.descriptor = None

    def _publish(self, *, parts: list[dict[str, object]], ready: bool = False) -> None:
        state = {
            "pid": os.getpid(),
            "started_at": started_at(os.getpid()),
            "children": self.children,
            "ready": ready,
            "parts": parts,
        }
        write_private(_state(self.home), text=json.dumps(state, indent=1))


async def claim(home: Home, *, progress: Progress) -> Claim:
    """Become the owner of the stack, or wait until another process of this checkout has it ready."""
    patience = 10
    while True:
        descriptor = _lock(home)
        if descriptor is not None:
            await _end_leftovers(home, progress=progress)
            return Claim(home, descriptor, {})
        state = read_table(_state(home))
        if state.get("ready") and _writer_lives(state):
            return Claim(home, None, {})
        patience -= 1
        if patience == 0:
            progress(
                f"process {state.get('pid', '?')} of this checkout is starting the stack: waiting for it"
            )
        await asyncio.sleep(0.1)


def running_parts(home: Home) -> dict[Part, Started]:
    """The stand-ins that the owner announced; empty when no owner lives."""
    if not is_owned(home):
        return {}
    state = read_table(_state(home))
    rows = cast("list[dict[str, object]]", state.get("parts", []))
    return {Part(str(row["part"])): _started(row) for row in rows}


def is_owned(home: Home) -> bool:
    """Whether a living process runs the stack."""
    descriptor = _lock(home)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


def _writer_lives(state: Mapping[str, object]) -> bool:
    """Tells the state of this owner from one that a dead owner left."""
    return started_at(int(str(state["pid"]))) == state["started_at"]


def _started(row: dict[str, object]) -> Started:
    return Started(
        part=Part(str(row["part"])),
        address=str(row["address"]),
        version=str(row["version"]),
        environment=cast("dict[str, str]", row["environment"]),
        web_ui=str(row["web_ui"]),
        env_file=str(row["env_file"]),
    )


def _state(home: Home) -> Path:
    return home.directory / "stack.json"


def _lock(home: Home) -> int | None:
    descriptor = os.open(home.directory / "stack.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


async def _end_leftovers(home: Home, *, progress: Progress) -> None:
    """End what a dead owner left running: first by waiting, then by SIGINT, then by SIGKILL."""
    children = cast("dict[str, str]", read_table(_state(home)).get("children", {}))
    left = {int(pid): start for pid, start in children.items()}
    if left and _alive(left):
        progress("the stack was not stopped cleanly: waiting for its last processes to end")
    for number, limit in ((None, 2.0), (signal.SIGINT, STOPPING_LIMIT), (signal.SIGKILL, STOPPING_LIMIT)):
        for pid in _alive(left):
            if number is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        deadline = time.monotonic() + limit
        while _alive(left) and time.monotonic() < deadline:  # noqa: ASYNC110 - not our children, no event
            await asyncio.sleep(0.05)
    if still := _alive(left):
        raise PartFailed("stack", why=f"processes {still} of the last run do not end", fix="end them by hand")
    _state(home).unlink(missing_ok=True)


def _alive(children: Mapping[int, str]) -> list[int]:
    return [pid for pid, start in children.items() if start and started_at(pid) == start]
