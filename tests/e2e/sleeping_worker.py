"""A worker process whose builds all sleep at once: `python -m tests.e2e.sleeping_worker QUEUE`."""

import asyncio
import ctypes
import gc
import itertools
import sys
from pathlib import Path

from starter.connect import connect
from starter.exits import run, until_told
from tests import fakes
from worker import bind, build_worker
from workflows.turns import Refusal


def held() -> int:
    """Resident bytes of this process, without garbage and without what the allocator keeps for later."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise LookupError("VmRSS")


async def tell_held() -> None:
    """Answer each line of standard input with the bytes that are held."""
    asked = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(asked), sys.stdin)
    while await asked.readline():
        sys.stdout.write(f"{held()}\n")
        sys.stdout.flush()


async def main(queue: str) -> int:
    """Work on a queue with fakes that never have money, until told to end."""
    world = fakes.World(replies=itertools.repeat(fakes.refused(Refusal.SPENT, fakes.FAR_FUTURE)))
    activities = [method for port, fake in fakes.PAIRS for method in bind(port, fake(world))]
    async with build_worker(await connect(), activities, task_queue=queue):
        await until_told(tell_held())
    return 0


if __name__ == "__main__":
    run(main(sys.argv[1]))
