"""Bounds work in this process: a search over a strange tree or pattern ends with a word, not with a hang."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import Generator

from .outcomes import Refusal

SEARCH_SECONDS = 30
"""How long a search may take."""


@contextmanager
def deadline(seconds: int) -> Generator[None, None, None]:
    """Let the block take so long; Python's own expressions look for signals while they match.

    Raises Refusal when the time is over.
    """

    def stop(*_: object) -> None:
        raise too_slow(seconds)

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def too_slow(seconds: int) -> Refusal:
    """Word a search that took too long."""
    return Refusal(f"The search took more than {seconds} seconds. Narrow the path, the glob or the pattern.")
