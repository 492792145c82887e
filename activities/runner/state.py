"""The runner's own directory, `<home>/.nightshift`: where things lie, and how they are written and locked."""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager
from typing import Any, Generator, NamedTuple, cast

from .failures import RunnerFailure


class State(NamedTuple):
    """Where the runner keeps its state and what it works on; real paths."""

    home: str
    workspace: str
    generation: int

    @property
    def directory(self) -> str:
        """Give the state directory; outside the workspace, so never in a snapshot."""
        return os.path.join(self.home, ".nightshift")

    def path(self, *parts: str) -> str:
        """Give a path below the state directory; its folder is created."""
        path = os.path.join(self.directory, *parts)
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        return path


def open_state(request: dict[str, Any]) -> State:
    """Read where to work from a request; creates the state directory and the workspace.

    A workspace that was replaced by a link is not followed: the file tools then find all paths outside it,
    while a command can still put the folder back.

    Raises RunnerFailure if the workspace would hold the state.
    """
    home = os.path.realpath(os.path.expanduser(request["home"]))
    given: str = request["workspace"]
    parent, name = os.path.split(os.path.expanduser(given).rstrip("/"))
    workspace = os.path.join(os.path.realpath(parent), name)
    state = State(home, workspace, int(request.get("generation", 0)))
    if (state.directory + "/").startswith(workspace + "/"):
        raise RunnerFailure(
            "invalid_request", f"The workspace {workspace} may not contain {state.directory}."
        )
    os.makedirs(state.directory, mode=0o700, exist_ok=True)
    if not os.path.lexists(workspace):
        os.makedirs(workspace, exist_ok=True)
    return state


def identity(state: State) -> str:
    """Name this state directory; one that was deleted and made anew has another name."""
    path = state.path("identity")
    if not read_text(path):
        write_atomic(path, os.urandom(6).hex().encode())
    return read_text(path)


def write_atomic(path: str, data: bytes) -> None:
    """Replace a file in one step, so that a reader or a crash sees the old or the new one."""
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "wb") as file:
            file.write(data)
    except OSError:
        remove(temporary)
        raise
    os.replace(temporary, path)


def write_json(path: str, value: dict[str, Any]) -> None:
    """Replace a JSON file in one step."""
    write_atomic(path, json.dumps(value).encode())


def read_json(path: str) -> dict[str, Any] | None:
    """Read a JSON object; None if it is missing or damaged."""
    try:
        with open(path, "rb") as file:
            value = json.loads(file.read())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def read_text(path: str) -> str:
    """Read a small text file; empty if it is missing."""
    try:
        with open(path, "rb") as file:
            return os.fsdecode(file.read())
    except (FileNotFoundError, NotADirectoryError):
        return ""


def remove(path: str) -> None:
    """Delete a file that may be gone."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


@contextmanager
def locked(path: str) -> Generator[None, None, None]:
    """Hold an exclusive lock on a file; waits for whoever has it, and ends with the holder's life."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
