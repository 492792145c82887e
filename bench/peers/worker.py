"""A peer's worker: `python -m peers.worker MODULE ADDRESS TASK_QUEUE`, in the peer's own environment."""

import asyncio
import importlib
import os
import sys

from temporalio.client import Client
from temporalio.worker import Worker


async def main(module: str, address: str, task_queue: str) -> None:
    """Work until killed."""
    peer = importlib.import_module(f"peers.{module}")
    client = await Client.connect(address, **peer.CLIENT)
    await Worker(client, task_queue=task_queue, **peer.WORKER).run()


if __name__ == "__main__":
    try:
        asyncio.run(main(*sys.argv[1:]))
    finally:
        sys.stderr.flush()
        os._exit(1)
