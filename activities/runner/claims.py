"""Claims: a call runs at most once, whoever asks again and whoever was killed meanwhile.

A claim is a directory; its lock is held for the holder's life; `result` is renamed into place once.
"""

from __future__ import annotations

import os
import re
from typing import Any, NamedTuple

from .failures import RunnerFailure
from .state import State, read_json, write_atomic, write_json

_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")


class Claim(NamedTuple):
    """One call, under a sandbox generation."""

    state: State
    name: str

    def path(self, part: str) -> str:
        """Give a file of this claim: lock, pid, output, exit, cwd, payload, intent, result."""
        return self.state.path("claims", self.name, part)

    @property
    def mark(self) -> str:
        """Give what this call's processes carry in their environment: no other home's claim is the same."""
        return os.path.dirname(self.path("lock"))

    @property
    def has_begun(self) -> bool:
        """Tell whether anything of this call may have taken effect."""
        return any(os.path.exists(self.path(part)) for part in ("pid", "intent"))

    def result(self) -> dict[str, Any] | None:
        """Give the recorded answer, if the call is over."""
        return read_json(self.path("result"))

    def record(self, result: dict[str, Any]) -> None:
        """Keep the answer for whoever asks again, and note that this call was the last one."""
        write_json(self.path("result"), result)
        write_atomic(self.state.path("last_claim"), self.name.encode())


def open_claim(state: State, name: str) -> Claim:
    """Name a claim of this generation.

    Raises RunnerFailure if the name is none for a directory.
    """
    if not _NAME.fullmatch(name):
        raise RunnerFailure("invalid_request", f"{name!r} is no claim: 1 to 128 of A-Z a-z 0-9 _ -")
    claim = Claim(state, f"{state.generation}-{name}")
    os.makedirs(os.path.dirname(claim.path("lock")), mode=0o700, exist_ok=True)
    return claim


def has_claims(state: State) -> bool:
    """Tell whether a call was made in this generation."""
    names = os.listdir(os.path.dirname(state.path("claims", "x")))
    return any(name.startswith(f"{state.generation}-") for name in names)
