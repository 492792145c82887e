"""A worker process whose builds all sleep at once: `python -m tests.e2e.sleeping_worker QUEUE`."""

import asyncio
import itertools
import sys

from starter.connect import connect
from starter.exits import run, until_told
from tests import fakes
from worker import bind, build_worker
from workflows.turns import Refusal


async def main(queue: str) -> int:
    """Work on a queue with fakes that never have money, until told to end."""
    world = fakes.World(replies=itertools.repeat(fakes.refused(Refusal.SPENT, fakes.FAR_FUTURE)))
    activities = [method for port, fake in fakes.PAIRS for method in bind(port, fake(world))]
    async with build_worker(await connect(), activities, task_queue=queue):
        await until_told(asyncio.Event().wait())
    return 0


if __name__ == "__main__":
    run(main(sys.argv[1]))
