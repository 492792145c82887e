"""Preview listeners: a 127.0.0.1 port outside for each port of a sandbox that somebody looks at."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from starter.local.sandbox.channel import GuestGoneError
from starter.local.sandbox.splice import Connection, splice

HEAD_SECONDS = 5.0

Opener = Callable[[], Awaitable[Connection]]


async def listen(opener: Opener, *, wanted: int | None) -> asyncio.Server:
    """Listen on the port wanted, or on another if it is taken, and join each connection to `opener`'s."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            await _serve((reader, writer), opener)
        writer.close()

    if wanted is not None:
        with suppress(OSError):
            return await asyncio.start_server(serve, "127.0.0.1", wanted)
    return await asyncio.start_server(serve, "127.0.0.1", 0)


def port_of(server: asyncio.Server) -> int:
    """Return the port a listener has."""
    return int(server.sockets[0].getsockname()[1])


async def _serve(client: Connection, opener: Opener) -> None:
    reader, writer = client
    try:
        inside = await opener()
    except (ConnectionRefusedError, GuestGoneError) as error:
        # Read first: closing on unread bytes resets the connection and loses the answer.
        with suppress(TimeoutError):
            await asyncio.wait_for(reader.read(65536), HEAD_SECONDS)
        body = f"{error}\n".encode()
        head = f"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n".encode() + body)
        await writer.drain()
        return
    await splice(client, inside)
