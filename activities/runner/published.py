"""What was published last: the parent of the next manifest."""

from __future__ import annotations

from typing import NamedTuple

from .state import State, read_json, write_json


class Published(NamedTuple):
    """The newest manifest that the worker has committed."""

    number: int = 0
    """0: none yet."""
    key: str = ""
    slice: int = -1
    """Which slice of all paths it lists whole; -1: that is not known, so that the next one is a full one."""


def read_published(state: State) -> Published:
    """Read what was published last."""
    row = read_json(state.path("captures", "published.json")) or {}
    return Published(**{name: row[name] for name in Published._fields if name in row})


def write_published(state: State, published: Published) -> None:
    """Remember what was published last."""
    write_json(state.path("captures", "published.json"), published._asdict())
