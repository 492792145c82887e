"""Faults on demand: what goes wrong with which request, set over HTTP by tests; knows no sandbox."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from starter.local.sandbox.guest.asgi import Receive, Scope, Send, respond_json

Plane = Literal["control", "data"]
Kind = Literal["rate_limit", "server_error", "bad_gateway", "drop", "stall"]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_STATUS = {
    "rate_limit": (429, "Rate limit exceeded, please try again later."),
    "server_error": (500, "Internal server error"),
    "bad_gateway": (502, "Bad Gateway"),
}


class Fault(BaseModel):
    """One thing that goes wrong."""

    model_config = ConfigDict(extra="forbid")

    kind: Kind
    """A status in place of an answer, `drop` (the connection is cut midway) or `stall`."""
    plane: Plane = "data"
    """Which requests it hits: of sandboxes, or for what happens in them."""
    times: Annotated[int, Field(ge=1)] = 1
    """How many requests it hits."""
    after: Annotated[int, Field(ge=0)] = 0
    """How many requests of its plane pass unharmed first."""
    seconds: Annotated[float, Field(ge=0)] = 0.0
    """How long a request goes on before it is cut, or stands still before it begins."""


class Faults:
    """The faults still to come, taken in order, one a request."""

    def __init__(self) -> None:
        self._pending: list[Fault] = []

    def set(self, faults: list[Fault]) -> None:
        """Replace the faults."""
        self._pending = list(faults)

    def pending(self) -> list[Fault]:
        """Return the faults that have not been used up."""
        return list(self._pending)

    def take(self, plane: Plane) -> Fault | None:
        """Return the fault that hits this request and count it."""
        of_plane = [fault for fault in self._pending if fault.plane == plane]
        due = next((fault for fault in of_plane if fault.after == 0), None)
        self._pending = [_counted(fault, due) if fault.plane == plane else fault for fault in self._pending]
        self._pending = [fault for fault in self._pending if fault.times > 0]
        return due


def _counted(fault: Fault, due: Fault | None) -> Fault:
    if fault is due:
        return fault.model_copy(update={"times": fault.times - 1})
    return fault.model_copy(update={"after": max(0, fault.after - 1)})


async def struck(fault: Fault | None, app: App, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request as the fault wants it; without one, as it is."""
    if fault is not None and fault.kind in _STATUS:
        status, message = _STATUS[fault.kind]
        await respond_json(send, status, {"code": status, "message": message})
    elif fault is not None and fault.kind == "drop":
        await _drop(fault.seconds, app, scope, receive, send)
    else:
        await asyncio.sleep(fault.seconds if fault is not None else 0)
        await app(scope, receive, send)


async def _drop(seconds: float, app: App, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer for so long; returning within a response makes the server cut the connection."""
    begun = asyncio.Event()

    async def passing(message: MutableMapping[str, Any]) -> None:
        begun.set()
        await send(message)

    answer = asyncio.ensure_future(app(scope, receive, passing))
    await asyncio.wait([answer], timeout=seconds)
    if answer.done():
        await answer
        return
    answer.cancel()
    await asyncio.wait([answer])
    if not begun.is_set():
        await send({"type": "http.response.start", "status": 200, "headers": []})
