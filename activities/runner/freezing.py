"""Holds the processes of commands still while files are copied, so that a database fits its log."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager, suppress
from typing import Generator, NamedTuple

from . import groups
from .processes import started
from .state import State

_ROUNDS = 5
_STOPPED_SECONDS = 0.1


class _Watchdog(NamedTuple):
    pid: int
    pipe: int


_NONE = _Watchdog(-1, -1)


def writers(state: State) -> list[int]:
    """Find what runs of calls, and what else runs in the workspace, unless it is stopped; parents first.

    Not found is a daemon that cleared its environment and works outside of it, though its files lie inside.
    """
    sessions = [groups.session_of(group) for _, group in started(state)]
    found = groups.marked(state.path("claims", ""), sessions, within=state.workspace)
    return [one.pid for one in found if one.state not in "Tt"]


@contextmanager
def frozen(state: State) -> Generator[None, None, None]:
    """Stop what calls left running, and let it go on afterwards, even if this process is killed meanwhile."""
    stopped: list[int] = []
    watchdog = _NONE
    try:
        for _ in range(_ROUNDS):
            running = writers(state)
            if not running:
                break
            watchdog = _watch() if watchdog == _NONE else watchdog
            os.write(watchdog.pipe, "".join(f"{pid} " for pid in running).encode())
            stopped += running
            if not _stop(running):
                break
        yield
    finally:
        for pid in reversed(stopped):  # a shell whose job is stopped would take its terminal back
            groups.send(pid, signal.SIGCONT)
        if watchdog != _NONE:
            os.close(watchdog.pipe)
            os.waitpid(watchdog.pid, 0)


def _stop(pids: list[int]) -> bool:
    """Stop processes and wait until they stand; one that is inside the kernel may take longer.

    False where all are another user's, who alone could.
    """
    ours = [pid for pid in pids if groups.send(pid, signal.SIGSTOP)]
    deadline = time.monotonic() + _STOPPED_SECONDS
    while any(groups.run_state(pid) not in "TtZX" for pid in ours) and time.monotonic() < deadline:
        time.sleep(0.0005)
    return bool(ours)


def _watch() -> _Watchdog:
    """Start a process that lets go all pids written to its pipe, once nobody holds the other end."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _guard(reading)
    os.close(reading)
    return _Watchdog(pid, writing)


def _guard(reading: int) -> None:
    try:
        os.setsid()
        for descriptor in [int(name) for name in os.listdir("/proc/self/fd")]:
            if descriptor != reading:  # the locks that were inherited must end with their holder
                with suppress(OSError):
                    os.close(descriptor)
        pids = b"".join(iter(lambda: os.read(reading, 65_536), b""))
        for word in reversed(pids.split()):
            groups.send(int(word), signal.SIGCONT)
    finally:
        os._exit(0)
