"""Process sessions of commands: starting one, finding what is left of it, killing it. Reads /proc."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import Iterable, NamedTuple

from .failures import RunnerFailure
from .lineage import Process, descent, stat_fields
from .state import read_text, write_atomic

MARK = "NIGHTSHIFT_CLAIM"
"""The environment variable by which a process that left its session is still found."""
KILL_SECONDS = 10.0
_LOOKS = 2
"""A process that forks and ends while /proc is listed can hide from one look."""
_HOLDS = 5
"""How often a group that forks while it is stopped is looked at again before it is killed."""


class Group(NamedTuple):
    """What one command started: its session, and the mark that its processes carry."""

    pid: int
    ticks: str
    """Start time of the leader, which tells a reused pid; empty if it was not recorded."""
    mark: str


class Program(NamedTuple):
    """What to execute."""

    argv: list[str]
    cwd: str
    environment: dict[str, str]
    output: str
    """The file that takes stdout and stderr."""


def start(program: Program, *, pid_path: str) -> int:
    """Execute a program in a session of its own; the child notes its pid before it becomes the program.

    A lock that the caller holds close-on-exec is thus free only once the pid is known.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    pid = os.fork()
    if pid == 0:
        _become(program, pid_path)
    return pid


def _become(program: Program, pid_path: str) -> None:
    try:
        os.setsid()
        output = os.open(program.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.dup2(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(program.cwd)
        write_atomic(pid_path, f"{os.getpid()} {_ticks(os.getpid())}".encode())
        _close_at_exec()
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        os.execvpe(program.argv[0], program.argv, program.environment)
    except OSError as error:
        os.write(2, f"cannot start {program.argv[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def _close_at_exec() -> None:
    """Let the program inherit stdin, stdout and stderr only, as it may outlive whoever reads the rest."""
    for descriptor in (int(name) for name in os.listdir("/proc/self/fd")):
        if descriptor > 2:  # noqa: PLR2004 - the three
            with suppress(OSError):
                os.set_inheritable(descriptor, False)


def wait(pid: int, *, seconds: float) -> int | None:
    """Wait for a child that `start` made; its exit code (128 + signal if killed), None if it still runs."""
    deadline = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
        left = deadline - time.monotonic()
        if left <= 0:
            return None
        signal.sigtimedwait({signal.SIGCHLD}, left)


def recorded(pid_path: str, *, mark: str) -> Group | None:
    """Read the group that a child noted; None if it never came to execute anything."""
    words = read_text(pid_path).split()
    return Group(int(words[0]), words[1] if len(words) > 1 else "", mark) if words else None


def members(group: Group) -> list[int]:
    """Find the living processes of a group, those included that made a session of their own; oldest first."""
    found = descent(os.fsencode(f"\0{MARK}={group.mark}\0"), [session_of(group)], everyone=False)
    return [one.pid for one in found]


def session_of(group: Group) -> int:
    """Give the session of a group; -1 where another process has its leader's pid by now."""
    return group.pid if _ticks(group.pid) in ("", group.ticks) else -1


def marked(prefix: str, sessions: Iterable[int], *, within: str) -> list[Process]:
    """Find what has such a mark, is of a session or works in a directory, and all that comes of it."""
    return descent(os.fsencode(f"\0{MARK}={prefix}"), sessions, within=within, everyone=True)


def run_state(pid: int) -> str:
    """Give the state letter of a process: T stopped, Z ended; X if it is gone."""
    return (stat_fields(pid) or ["X"])[0]


def kill(group: Group) -> None:
    """Kill a group and wait until none of it runs, so that it writes nothing afterwards.

    Raises RunnerFailure if a process outlives it.
    """
    deadline = time.monotonic() + KILL_SECONDS
    looks_without = 0
    while looks_without < _LOOKS:
        left = _hold(group)
        looks_without = 0 if left else looks_without + 1
        if time.monotonic() > deadline:
            raise RunnerFailure("unkillable", f"Processes {left} outlive SIGKILL.")
        for pid in left:
            send(pid, signal.SIGKILL)
        time.sleep(0.002)


def _hold(group: Group) -> list[int]:
    """Stop a group and give its members: a child may be known by its parent alone, which is to be killed."""
    held: list[int] = []
    for _ in range(_HOLDS):
        left = members(group)
        for pid in left:
            send(pid, signal.SIGSTOP)
        if set(left) <= set(held):
            return left
        held = left
    return held


def send(pid: int, number: signal.Signals) -> bool:
    """Signal a process that may be gone; tells whether this user may."""
    with suppress(ProcessLookupError):
        try:
            os.kill(pid, number)
        except PermissionError:
            return False
    return True


def _ticks(pid: int) -> str:
    fields = stat_fields(pid)
    return fields[19] if fields else ""
