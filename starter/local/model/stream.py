"""Sending the events of one stream, with whatever a test wants to go wrong on the way; knows no content."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from starter.local.model.faults import Fault, Gate, Hold
from starter.local.model.values import Json
from starter.local.model.wire import Event, sse


class Disconnect(Exception):
    """The connection breaks off in the middle of the stream."""


async def send(
    events: Sequence[Event], *, fault: Fault | None, gate: Gate, request_id: str, pace: float
) -> AsyncIterator[bytes]:
    """Yield the stream's bytes; `pace` is the delay between events in seconds."""
    hold = gate.take()
    delay = fault.seconds if fault and fault.kind == "slow_stream" else pace
    end = _last_event(fault, len(events))
    for number, (name, payload) in enumerate(events):
        if hold is not None and number == hold.after_events:
            async for ping in _stand_still(hold, gate):
                yield ping
        if number == end and fault is not None:
            for last_word in _break_off(fault, request_id):
                yield last_word
            return
        yield sse(name, payload)
        if delay:
            await asyncio.sleep(delay)


def _last_event(fault: Fault | None, count: int) -> int | None:
    if fault is None or fault.kind not in ("cut", "disconnect", "sse_error"):
        return None
    wanted = count // 2 if fault.after_events is None else fault.after_events
    return min(wanted, count - 1)


def _break_off(fault: Fault, request_id: str) -> list[bytes]:
    if fault.kind == "disconnect":
        raise Disconnect
    if fault.kind == "cut":
        return []
    error: Json = {"type": "overloaded_error", "message": "Overloaded", "details": None}
    return [sse("error", {"type": "error", "error": error, "request_id": request_id})]


async def _stand_still(hold: Hold, gate: Gate) -> AsyncIterator[bytes]:
    while not await gate.wait(hold.ping_seconds):
        yield sse("ping", {"type": "ping"})
