"""Heartbeats in the background of an activity, so that a lost worker is noticed and a cancel arrives.

A worker may also stand still, as on a machine that is suspended: its attempt is given up meanwhile, another
one does its work, and it must not go on as if nothing had been.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from temporalio import activity
from temporalio.client import AsyncActivityCancelledError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from workflows.errors import FailureType

BEAT = timedelta(seconds=1)
"""How often a running activity says that it lives, and hears whether it is cancelled."""
LATE_SECONDS = 1.5
"""Since the last beat in time; after it nobody here knows whether the attempt still counts."""


@dataclass(slots=True)
class _Pulse:
    """What an attempt knows of its time, by a stopwatch that runs on while it stands still."""

    read: Callable[[], float]
    began: float
    in_time: float
    """When it last beat in time, or the server said that the attempt counts."""

    @property
    def is_late(self) -> bool:
        return self.read() - self.in_time > LATE_SECONDS


_PULSE = ContextVar[_Pulse]("pulse")


def _stopwatch() -> float:
    """Read a clock that counts a suspended machine's time, too, where there is one."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


@asynccontextmanager
async def heartbeating(
    every: timedelta = BEAT, *, stopwatch: Callable[[], float] = _stopwatch
) -> AsyncGenerator[None]:
    """Beat at this interval until the block ends; a blocked event loop does not beat.

    A block shorter than that costs no beat, each of which is a request to the server.
    """
    began = stopwatch()
    waited = datetime.now(UTC) - activity.info().started_time
    pulse = _Pulse(stopwatch, began, began - max(0.0, waited.total_seconds()))
    token = _PULSE.set(pulse)
    beats = asyncio.create_task(_beat(every.total_seconds(), pulse))
    try:
        yield
    finally:
        _PULSE.reset(token)
        beats.cancel()
        await asyncio.wait({beats})


async def attend() -> None:
    """See that this attempt still counts, where its last beat is late: the server is asked.

    To be called before whatever another attempt may have done meanwhile; outside an activity, or in one that
    has no server, it does nothing. Raises a retryable error where it was given up, or nobody answers.
    """
    pulse = _PULSE.get(None)
    if pulse is None or not pulse.is_late:
        return
    asked = pulse.read()
    try:
        client = activity.client()
    except RuntimeError:  # as in the SDK's environment for tests
        return
    try:
        await client.get_async_activity_handle(task_token=activity.info().task_token).heartbeat()
    except AsyncActivityCancelledError:
        pass  # it counts; the cancel comes by the worker's own beat
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            text = "This attempt stood still and was given up; another one has taken its place."
        else:
            text = f"Temporal did not say whether this attempt still counts ({error.status.name})."
        raise ApplicationError(text, type=FailureType.RETRYABLE) from None
    pulse.in_time = asked


def server_now() -> datetime:
    """Give the server's time in a beating activity: that of its start, and what a stopwatch says since."""
    pulse = _PULSE.get()
    return activity.info().started_time + timedelta(seconds=pulse.read() - pulse.began)


async def _beat(seconds: float, pulse: _Pulse) -> None:
    while True:
        await asyncio.sleep(seconds)
        if not pulse.is_late:
            pulse.in_time = pulse.read()
        activity.heartbeat()
