"""Heartbeats in the background of an activity, so that a lost worker is noticed and a cancel arrives."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta

from temporalio import activity

BEAT = timedelta(seconds=1)
"""How often a running activity says that it lives, and hears whether it is cancelled."""
_BEGAN = ContextVar[float]("began")
"""Reading of the stopwatch when the activity began."""


@asynccontextmanager
async def heartbeating(every: timedelta = BEAT) -> AsyncGenerator[None]:
    """Beat at this interval until the block ends; a blocked event loop does not beat.

    A block shorter than that costs no beat, each of which is a request to the server.
    """
    began = _BEGAN.set(time.monotonic())
    beats = asyncio.create_task(_beat(every.total_seconds()))
    try:
        yield
    finally:
        _BEGAN.reset(began)
        beats.cancel()
        await asyncio.wait({beats})


def server_now() -> datetime:
    """Give the server's time in a beating activity: that of its start, and what a stopwatch says since."""
    return activity.info().started_time + timedelta(seconds=time.monotonic() - _BEGAN.get())


async def _beat(seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        activity.heartbeat()
