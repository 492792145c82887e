"""A pace: what is done often is done at a distance. Knows no vendor."""

import asyncio
from datetime import timedelta


class Pace:
    """Lets one pass at a time, each at least `spacing` after the one before."""

    def __init__(self, spacing: timedelta) -> None:
        self._spacing = spacing.total_seconds()
        self._turn = asyncio.Lock()
        self._next = 0.0

    async def wait(self) -> None:
        """Wait for the next turn."""
        clock = asyncio.get_running_loop().time
        async with self._turn:
            await asyncio.sleep(self._next - clock())
            self._next = clock() + self._spacing
