"""A sandbox's disk: its size by accounting, and what is left of writing once it is full. Knows no protocol.

Held by the limit on the size of a file, which needs no mount and no privilege: a write beyond it fails as
"File too large" (EFBIG) or ends its writer by SIGXFSZ, where E2B's disk says "No space left on device".
Removing and emptying files works. Code that lifts its own limit is not held.
"""

import asyncio
import os
import resource
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from starter.local.sandbox.guest.population import Population

FULL_FILE_BYTES = 64 * 1024
"""How far a file can still be written: short commands work, as on a disk with its last blocks free."""
LOOK_SECONDS = 1.0
REST = 50
"""How much longer than a look the rest after it is."""


class Disk:
    """The disk of this sandbox."""

    def __init__(self, population: Population) -> None:
        self._population = population
        self._size: int | None = None
        self._is_over = False
        self._fault: asyncio.TimerHandle | None = None
        self._watch: asyncio.Task[None] | None = None

    def limit(self, size: int, places: Sequence[Path]) -> None:
        """Let these directories together have at most so many bytes, as far as looking now and then tells."""
        self._size = size
        self._apply()
        self._watch = asyncio.create_task(self._look_again(places))

    def fill(self, seconds: float) -> None:
        """Be full for so long, whatever is on it."""
        if self._fault is not None:
            self._fault.cancel()
        self._fault = asyncio.get_running_loop().call_later(seconds, self._empty)
        self._apply()

    def _empty(self) -> None:
        self._fault = None
        self._apply()

    async def _look_again(self, places: Sequence[Path]) -> None:
        assert self._size is not None
        while True:
            begun = time.monotonic()
            if not self._population.is_frozen:
                is_over = await asyncio.to_thread(_used, places) > self._size
                if is_over or self._is_over:
                    self._is_over = is_over
                    self._apply()
            await asyncio.sleep(max(LOOK_SECONDS, REST * (time.monotonic() - begun)))

    def _apply(self) -> None:
        is_full = self._is_over or self._fault is not None
        size = FULL_FILE_BYTES if is_full else self._size or resource.RLIM_INFINITY
        # Twice: a child forked meanwhile has its parent's old limit.
        for pid in (*self._population.pids(), *self._population.pids()):
            with suppress(OSError, ValueError):
                _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))


def _used(places: Sequence[Path]) -> int:
    seen: set[int] = set()
    total = 0
    for place in places:
        for directory, _, names in os.walk(place):
            for name in names:
                with suppress(OSError):
                    found = Path(directory, name).lstat()
                    total += 0 if found.st_ino in seen else found.st_blocks * 512
                    if found.st_nlink > 1:
                        seen.add(found.st_ino)
    return total
