"""Which packs are mostly dead, so that a full scan carries their live content forward into new packs.

Only a hint: a capture moves what it is told to, or not, and restores the same. The old pack is swept once
no restore point names it; a carry that was never committed is found in the sandbox, or asked for again.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from temporalio.exceptions import ApplicationError

from activities.manifests import Manifest
from activities.restore import Restorer
from activities.restore_points import RestorePoints
from workflows.files import TakeSnapshot

DEAD_BELOW: Final = 1 / 4
"""A pack is mostly dead when the tree names less than this part of its bytes."""
MIN_PACK_BYTES: Final = 64 * 1024
"""A smaller pack is left as it is: it takes little."""
MAX_CARRIED_BYTES: Final = 64 * 1024 * 1024
"""How much one snapshot carries, as packed, so that a save before sleep stays short."""


class DeadPacks:
    """Chooses packs by the newest restore point of a sandbox."""

    def __init__(self, points: RestorePoints, restorer: Restorer) -> None:
        self._points = points
        self._restorer = restorer

    async def choose(self, request: TakeSnapshot) -> list[str]:
        """Give the packs to carry forward; none while there is no restore point that can be read."""
        newest = await self._points.newest(request)
        if newest is None:
            return []
        try:
            whole = await self._restorer.manifest(newest.restore_point)
            chain = await self._points.chain(newest.restore_point)
        except (ApplicationError, LookupError):
            return []  # A full manifest can do without it; what cannot says why.
        return await asyncio.to_thread(mostly_dead, whole, await self._points.packs(chain))


def mostly_dead(whole: Manifest, sizes: Mapping[str, int]) -> list[str]:
    """Give the mostly dead packs that one snapshot may carry, those with the fewest live bytes first."""
    live = _live_bytes(whole)
    dead = [pack for pack in live if live[pack] < sizes.get(pack, 0) * DEAD_BELOW]
    chosen: list[str] = []
    left = MAX_CARRIED_BYTES
    for pack in sorted(dead, key=lambda name: (live[name], name)):
        if sizes[pack] >= MIN_PACK_BYTES and live[pack] <= left:
            chosen.append(pack)
            left -= live[pack]
    return chosen


def _live_bytes(whole: Manifest) -> dict[str, int]:
    """Give the bytes of each pack that the tree names; content that several files have counts once."""
    members = {
        (entry.pack, entry.offset): entry.length or 0 for entry in whole.entries.values() if entry.pack
    }
    live: dict[str, int] = defaultdict(int)
    for (pack, _), length in members.items():
        live[pack] += length
    return live
