"""Getting every program that the stack and the tests need, once for a user: no later step waits for one."""

import asyncio
from argparse import Namespace

from rich.console import Console

from starter.local.java import time_skipping_server
from starter.local.s3 import find_gateway
from starter.local.temporal import find_cli

PROGRAMS = (find_cli, find_gateway, time_skipping_server)


async def fetch(_: Namespace, console: Console) -> int:
    """Get all of them side by side; raises PartFailed of one that cannot be had once the others are made."""

    def progress(line: str) -> None:
        console.print(line, style="dim", soft_wrap=True)

    ended = await asyncio.gather(*(find(progress=progress) for find in PROGRAMS), return_exceptions=True)
    for one in ended:
        if isinstance(one, BaseException):
            raise one
    return 0
