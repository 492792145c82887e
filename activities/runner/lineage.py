"""Which processes come of a command: those that carry its mark, and all that descend from such. Reads /proc.

The mark alone does not find all: a program may be started without an environment (`env -i`), or write its
title over it, as Postgres and Redis do. So what is found spreads to children and to sessions.

A daemon that forks, calls setsid and then clears its environment has lost all three once its parent ended.
It is found only where it is asked for what works in a directory, and that is its own.
"""

from __future__ import annotations

import os
from typing import Iterable, NamedTuple


class Process(NamedTuple):
    """What /proc says of one process at one moment."""

    pid: int
    state: str
    """T or t stopped, Z ended."""
    parent: int
    session: int
    """Pid of the process that began it, which may have ended; 0: it is outside this pid namespace."""
    ticks: int
    """When it started."""


def descent(mark: bytes, sessions: Iterable[int] = (), *, within: str = "", everyone: bool) -> list[Process]:
    """Find the living processes that carry a mark or are of a session, and what comes of them; oldest first.

    With `within` also those whose working directory is this one, or lies in it.

    That is their children, and the sessions that they began; with `everyone`, also each session that one of
    them is in. Never this process, those that it descends from, or the sessions of these.
    """
    table = _look()
    spared = _line_of(os.getpid(), table)
    shared = {table[pid].session for pid in spared if pid in table}
    others = [
        one._replace(session=0) if one.session in shared else one
        for pid, one in table.items()
        if pid not in spared
    ]
    known = _spread({}, others, set(sessions), everyone=everyone)
    unknown = [one for one in others if one.pid not in known]
    met = {one.pid: one for one in unknown if _bears(one.pid, mark) or _works(one.pid, within)}
    found = _spread({**known, **met}, others, set(sessions), everyone=everyone)
    alive = [one for one in found.values() if one.state not in "ZX"]
    return sorted(alive, key=lambda one: (one.ticks, one.pid))


def _spread(
    found: dict[int, Process], others: list[Process], sessions: set[int], *, everyone: bool
) -> dict[int, Process]:
    """Add what descends from the found, or is of these sessions or theirs, until a pass adds nothing."""
    count = -1
    while count != len(found):
        count = len(found)
        met = {one.session for one in found.values()}
        sessions = (sessions | (met if everyone else met & found.keys())) - {0}
        found = {
            one.pid: one
            for one in others
            if one.pid in found or one.parent in found or one.session in sessions
        }
    return found


def stat_fields(pid: int) -> list[str]:
    """Give the fields of /proc/<pid>/stat from the state on; the name before it may hold anything."""
    return _read(pid, "stat").decode("utf-8", "replace").rpartition(") ")[2].split()


def _look() -> dict[int, Process]:
    table: dict[int, Process] = {}
    for name in os.listdir("/proc"):
        fields = stat_fields(int(name)) if name.isdigit() else []
        if fields:
            pid = int(name)
            table[pid] = Process(pid, fields[0], int(fields[1]), int(fields[3]), int(fields[19]))
    return table


def _line_of(pid: int, table: dict[int, Process]) -> set[int]:
    """Give a process and all that it descends from, the provider's daemon among them."""
    line = {pid}
    while pid in table and table[pid].parent not in line:
        pid = table[pid].parent
        line.add(pid)
    return line


def _bears(pid: int, mark: bytes) -> bool:
    return mark in b"\0" + _read(pid, "environ")


def _works(pid: int, within: str) -> bool:
    try:
        return bool(within) and (os.readlink(f"/proc/{pid}/cwd") + "/").startswith(within + "/")
    except OSError:
        return False


def _read(pid: int, name: str) -> bytes:
    """Read a file of /proc; empty if the process is another user's, or ends this very moment."""
    try:
        with open(f"/proc/{pid}/{name}", "rb", buffering=0) as file:
            return file.read()
    except OSError:
        return b""
