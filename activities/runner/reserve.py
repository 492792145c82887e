"""Room set aside on the disk, so that a command which deletes can still be run once the disk is full."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import Generator

from .state import State, remove

ROOM = 1024 * 1024
"""What is set aside, bytes: enough for dozens of commands with short output."""
LOW = 256 * 1024
"""The disk counts as full when less is free, bytes."""


@contextmanager
def given(state: State) -> Generator[None, None, None]:
    """Let the block use what was set aside if the disk is full; what is left of it is set aside again."""
    if free(state) < LOW:
        remove(_path(state))
    try:
        yield
    finally:
        _keep(state)


def _keep(state: State) -> None:
    """Set room aside, less where there is less; without it a full disk only allows no command."""
    path, size = _path(state), min(ROOM, free(state))
    if os.path.exists(path) or size < LOW:
        return
    try:
        with open(path, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError:
        remove(path)


def free(state: State) -> int:
    """Give the bytes that are free on the disk."""
    seen = os.statvfs(state.directory)
    return seen.f_bavail * seen.f_frsize


def _path(state: State) -> str:
    return os.path.join(state.directory, "reserve")
