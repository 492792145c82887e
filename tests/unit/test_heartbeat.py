"""An activity beats while it works."""

import asyncio
from datetime import timedelta

import pytest
from temporalio.testing import ActivityEnvironment

from activities.heartbeat import heartbeating


async def test_beats_until_the_block_ends():
    """Beats go on while the block does; none comes after it."""
    environment = ActivityEnvironment()
    beats: list[tuple[object, ...]] = []
    third = asyncio.Event()

    def count(*details: object) -> None:
        beats.append(details)
        if len(beats) >= 3:
            third.set()

    environment.on_heartbeat = count

    async def work() -> None:
        async with heartbeating(timedelta(milliseconds=1)):
            await asyncio.wait_for(third.wait(), 10)

    await environment.run(work)
    counted = len(beats)
    await asyncio.sleep(0)

    assert counted >= 3
    assert len(beats) == counted


async def test_failure_inside_passes():
    """The block's own failure is what comes out."""

    async def work() -> None:
        async with heartbeating(timedelta(milliseconds=1)):
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await ActivityEnvironment().run(work)
