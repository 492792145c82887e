"""Which files running processes have mapped: a store into a page that is dirty already shows in no stat."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Iterable

_SHARED = re.compile(rb"^[0-9a-f]+-[0-9a-f]+ [r-][w-][x-]s [0-9a-f]+ [0-9a-f]+:[0-9a-f]+ (\d+)", re.MULTILINE)


def mapped(pids: Iterable[int]) -> frozenset[int]:
    """Give the inodes of the files that these processes share with others in memory.

    What is mapped later shows with its first store; what is read-only now may be dirty from before.
    """
    found: set[int] = set()
    for pid in pids:
        # It may have ended, or be another user's.
        with suppress(OSError), open(f"/proc/{pid}/maps", "rb", buffering=0) as file:
            found.update(map(int, _SHARED.findall(file.read())))
    return frozenset(found)
