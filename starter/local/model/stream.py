"""Sending the events of one stream, with whatever a test wants to go wrong on the way; knows no content."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from starter.local.model.faults import Fault, Gate, Hold
from starter.local.model.values import Json
from starter.local.model.wire import Event, sse

_ERRORS = {
    "sse_error": ("overloaded_error", "Overloaded"),
    "sse_billing": ("billing_error", "There is a problem with the billing of your organization."),
    "sse_revoked_key": ("authentication_error", "invalid x-api-key"),
    "sse_no_permission": ("permission_error", "Your API key has no permission to use this model."),
}
"""Error events, with status 200 long sent."""
_STRAY: Json = {
    "type": "content_block_delta",
    "index": 99,
    "delta": {"type": "text_delta", "text": "of no block"},
}
_LAST_WORDS = {
    "sse_untyped": sse("error", {"type": "error"}),
    "sse_garbage": b"event: error\ndata: upstream connect error\n\n",
    "stray_delta": sse("content_block_delta", _STRAY),
}
"""What is sent last by a stream that something on the way spoiled."""


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
        if hold is not None and hold.after_events in (number, number - len(events)):
            async for ping in _stand_still(hold, gate):
                yield ping
        if number == end and fault is not None:
            for last_word in _break_off(fault, request_id):
                yield last_word
            return
        if _is_sent(name, fault):
            yield sse(name, payload)
        if delay:
            await asyncio.sleep(delay)


def _last_event(fault: Fault | None, count: int) -> int | None:
    if fault is None or fault.kind not in (*_ERRORS, *_LAST_WORDS, "cut", "disconnect"):
        return None
    wanted = count // 2 if fault.after_events is None else fault.after_events
    return min(wanted, count - 1)


def _break_off(fault: Fault, request_id: str) -> list[bytes]:
    if fault.kind == "disconnect":
        raise Disconnect
    if fault.kind in _LAST_WORDS:
        return [_LAST_WORDS[fault.kind]]
    if fault.kind not in _ERRORS:
        return []
    kind, message = _ERRORS[fault.kind]
    error: Json = {"type": kind, "message": message, "details": None}
    return [sse("error", {"type": "error", "error": error, "request_id": request_id})]


def _is_sent(name: str, fault: Fault | None) -> bool:
    return name != "content_block_stop" or fault is None or fault.kind != "unclosed"


async def _stand_still(hold: Hold, gate: Gate) -> AsyncIterator[bytes]:
    while not await gate.wait(hold.ping_seconds):
        yield sse("ping", {"type": "ping"})
