"""Passing one HTTP request on over an open connection and its response back, streaming both ways."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import h11

from starter.local.sandbox.guest.asgi import Headers, Receive, Scope, Send
from starter.local.sandbox.splice import CHUNK, Connection

HOP_BY_HOP = {b"connection", b"keep-alive", b"proxy-connection", b"upgrade", b"te", b"trailer"}
FRAMING = {b"transfer-encoding"}


class BrokenOffError(Exception):
    """The other side ended within a response whose beginning was passed on already."""


async def forward(connection: Connection, scope: Scope, receive: Receive, send: Send) -> None:
    """Pass a request on and its response back, and close the connection.

    Raises:
        BrokenOffError: the response ended before its end.
        ConnectionError: there was no response at all.

    """
    reader, writer = connection
    exchange = _Exchange(reader, writer)
    upload = asyncio.create_task(exchange.upload(scope, receive))
    download = asyncio.create_task(exchange.download(send))
    # The upload ends last only if the client leaves first: it then hears of the disconnect.
    try:
        await asyncio.wait([upload, download], return_when=asyncio.FIRST_COMPLETED)
        if not download.done() and not upload.result():
            await download
        if download.done():
            download.result()
    finally:
        for task in (upload, download):
            task.cancel()
        await asyncio.gather(upload, download, return_exceptions=True)
        writer.close()


class _Exchange:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT)
        self._begun = False

    async def upload(self, scope: Scope, receive: Receive) -> bool:
        """Pass the request on, then wait for the client to leave; true when it left."""
        self._write(_request(scope))
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return True
            if body := message.get("body"):
                self._write(h11.Data(data=body))
                # Refused before its end: the answer is there to be read.
                with suppress(ConnectionError):
                    await self._writer.drain()
            if not message.get("more_body", False):
                break
        self._write(h11.EndOfMessage())
        return (await receive())["type"] == "http.disconnect"

    async def download(self, send: Send) -> None:
        """Pass the response back."""
        try:
            async for event in self._events():
                if isinstance(event, h11.Response):
                    self._begun = True
                    await send(_response_start(event))
                elif isinstance(event, h11.Data):
                    await send({"type": "http.response.body", "body": _payload(event), "more_body": True})
        except (OSError, h11.RemoteProtocolError) as error:
            if self._begun:
                raise BrokenOffError from error
            raise ConnectionResetError("The sandbox closed the connection without an answer.") from error
        await send({"type": "http.response.body", "body": b""})

    async def _events(self) -> AsyncIterator[Any]:
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._reader.read(CHUNK))
            elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                return
            else:
                yield event

    def _write(self, event: h11.Request | h11.Data | h11.EndOfMessage) -> None:
        self._writer.write(self._http.send(event) or b"")


def _request(scope: Scope) -> h11.Request:
    headers = [(name, value) for name, value in scope["headers"] if name not in HOP_BY_HOP | FRAMING]
    names = {name for name, _ in scope["headers"]}
    if b"transfer-encoding" in names:
        headers.append((b"transfer-encoding", b"chunked"))
    query = b"?" + scope["query_string"] if scope["query_string"] else b""
    target = scope["raw_path"] + query
    return h11.Request(method=scope["method"], target=target, headers=[*headers, (b"connection", b"close")])


def _response_start(response: h11.Response) -> dict[str, object]:
    headers: Headers = [
        (bytes(name), bytes(value))
        for name, value in response.headers
        if bytes(name) not in HOP_BY_HOP | FRAMING
    ]
    return {"type": "http.response.start", "status": response.status_code, "headers": headers}


def _payload(event: Any) -> bytes:
    return bytes(event.data)  # pyright: ignore[reportUnknownArgumentType] -- open in h11
