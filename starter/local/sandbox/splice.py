"""Joining two byte streams; knows nothing of what flows."""

import asyncio
from contextlib import suppress

CHUNK = 65536

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def splice(one: Connection, other: Connection) -> None:
    """Copy both ways until both have ended or either breaks, then close both."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_copy(one[0], other[1]))
            group.create_task(_copy(other[0], one[1]))
    except* OSError:
        pass
    finally:
        one[1].close()
        other[1].close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    with suppress(OSError):
        writer.write_eof()
