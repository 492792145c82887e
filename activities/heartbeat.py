"""Heartbeats in the background of an activity, so that a lost worker is noticed and a cancel arrives."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

from temporalio import activity

BEAT = timedelta(seconds=1)
"""How often a running activity says that it lives, and hears whether it is cancelled."""


@asynccontextmanager
async def heartbeating(every: timedelta = BEAT) -> AsyncGenerator[None]:
    """Beat at this interval until the block ends; a blocked event loop does not beat.

    A block shorter than that costs no beat, each of which is a request to the server.
    """
    beats = asyncio.create_task(_beat(every.total_seconds()))
    try:
        yield
    finally:
        beats.cancel()
        await asyncio.wait({beats})


async def _beat(seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        activity.heartbeat()
