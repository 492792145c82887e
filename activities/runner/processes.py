"""`processes` and `stop_processes`: what calls left running."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from . import groups
from .state import State, open_state, read_json, remove

GRACE_SECONDS = 3.0


def processes(request: dict[str, Any]) -> dict[str, Any]:
    """Answer with the background commands that were started, and which of them live."""
    return {"processes": [row for row, _ in _tracked(open_state(request))]}


def running(state: State) -> list[str]:
    """Give the commands that calls left running and that run still."""
    return [row["command"] for row, _ in _tracked(state) if row["alive"]]


def stop_processes(request: dict[str, Any]) -> dict[str, Any]:
    """Ask what lives to end, kill what does not within three seconds, and answer with what was stopped."""
    state = open_state(request)
    alive = [(row, group) for row, group in _tracked(state) if row["alive"]]
    for _, group in alive:
        for pid in groups.members(group):
            groups.send(pid, signal.SIGTERM)
    deadline = time.monotonic() + float(request.get("grace_seconds", GRACE_SECONDS))
    while time.monotonic() < deadline and any(groups.members(group) for _, group in alive):
        time.sleep(0.02)
    for row, group in alive:
        groups.kill(group)
        row["alive"] = False
    for row, _ in _tracked(state):
        remove(state.path("processes", f"{row['pid']}.json"))
    return {"stopped": [row for row, _ in alive]}


def started(state: State) -> list[tuple[str, groups.Group]]:
    """Give each command that was left running once, and its group."""
    folder = os.path.dirname(state.path("processes", "x"))
    rows = [read_json(os.path.join(folder, name)) for name in sorted(os.listdir(folder))]
    return [(row["command"], groups.Group(row["pid"], row["ticks"], row["mark"])) for row in rows if row]


def _tracked(state: State) -> list[tuple[dict[str, Any], groups.Group]]:
    return [
        ({"pid": group.pid, "command": command, "alive": bool(groups.members(group))}, group)
        for command, group in started(state)
    ]
