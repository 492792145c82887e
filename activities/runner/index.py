"""The index: path → row as of the newest capture. Disposable: without it all is read and packed again."""

from __future__ import annotations

import marshal
from typing import NamedTuple

from .rows import Row
from .state import State, write_atomic

_FORMAT = 3


class Index(NamedTuple):
    """The workspace as one capture saw it."""

    number: int
    created: float
    """Unix time, seconds."""
    rows: dict[bytes, Row]


EMPTY = Index(0, 0.0, {})


def current_path(state: State) -> str:
    """Give the file of the newest capture's index; replacing it is what makes a capture."""
    return state.path("captures", "index")


def published_path(state: State) -> str:
    """Give the file of the index that the newest published manifest describes."""
    return state.path("captures", "published-index")


def save(path: str, index: Index) -> None:
    """Write an index in one step."""
    rows = {name: tuple(row) for name, row in index.rows.items()}
    write_atomic(path, marshal.dumps((_FORMAT, index.number, index.created, rows)))


def load(path: str) -> Index:
    """Read an index; an empty one with number 0 if it is missing or damaged."""
    try:
        with open(path, "rb") as file:
            form, number, created, rows = marshal.loads(file.read())  # noqa: S302 - the runner's own file
        if form == _FORMAT:
            return Index(number, created, {name: Row._make(row) for name, row in rows.items()})
    except (FileNotFoundError, EOFError, ValueError, TypeError):
        pass
    return EMPTY
