"""The few ASGI pieces the data plane needs; knows no route."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

type_json = (b"content-type", b"application/json")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


class Refused(Exception):
    """A request answered with an HTTP status and a sentence for its reader."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


async def respond(send: Send, status: int, body: bytes = b"", *, headers: Headers | None = None) -> None:
    """Send one whole response."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*(headers or []), length]})
    await send({"type": "http.response.body", "body": body})


async def respond_json(send: Send, status: int, value: object) -> None:
    """Send one JSON response."""
    await respond(send, status, json.dumps(value).encode(), headers=[type_json])


async def read_chunks(receive: Receive) -> AsyncIterator[bytes]:
    """Yield the request's body as it arrives.

    Raises:
        ConnectionResetError: the client left before its end.

    """
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError("The client left before the end of its request.")
        yield message.get("body", b"")
        more = message.get("more_body", False)


def header(scope: Scope, name: bytes) -> str:
    """Return a request header's value, or the empty string."""
    headers: Headers = scope["headers"]
    return next((value.decode("latin-1") for key, value in headers if key == name), "")
