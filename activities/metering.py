"""Bounds the output that a stream has used so far, which the provider counts only at its end. Pure."""

import math
from collections.abc import Callable

BYTES_PER_TOKEN = 2
"""Code, digits and other scripts come to more; a token of fewer bytes is rare."""
FASTEST = 300
"""Tokens a second that no model gives more than."""
_SHOWN = frozenset({"text", "tool_use"})
"""Blocks that are streamed in full. Thinking is summarised or left out, so its bytes say nothing."""


class Meter:
    """Bounds what is shown by its bytes, and what is not by the time in which it can have been made."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._bytes = 0
        self._hidden = 0.0
        self._hidden_since: float | None = clock()
        """None: the block that comes now is shown in full."""

    def open(self, kind: str, shown: str) -> None:
        """Note that a block begins, and what is shown of it already."""
        if kind in _SHOWN and self._hidden_since is not None:
            self._hidden += self._clock() - self._hidden_since
            self._hidden_since = None
        self.hear(shown)

    def hear(self, shown: str) -> None:
        """Note a part of the block that comes now."""
        self._bytes += len(shown.encode("utf-8", "replace"))

    def close(self) -> None:
        """Note that a block ends: what follows may be hidden."""
        if self._hidden_since is None:
            self._hidden_since = self._clock()

    @property
    def tokens(self) -> int:
        """The most output that may have been used until now."""
        since = self._hidden_since
        hidden = self._hidden + (0.0 if since is None else self._clock() - since)
        return math.ceil(self._bytes / BYTES_PER_TOKEN) + math.ceil(hidden * FASTEST)
