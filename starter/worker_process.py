"""A worker as a child process: started, told ready once it polls, started again when it dies."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError

from starter.attach import ROOT, TASK_QUEUE
from starter.local.parts import PartFailed, Progress
from starter.local.supervisor import Service, end, plain_environment, size_of, spawn, tail

READY_SECONDS = 60
"""How long a worker may take until it polls."""
STOP_LIMIT = timedelta(seconds=30)
"""How long a worker may take to end what it does; longer than its own grace."""
SHORT_LIFE_SECONDS = 10
"""A worker that dies sooner than this after its start is not started again at once."""
LONGEST_PAUSE_SECONDS = 30
"""Until one that dies young again and again is started once more."""
HEAP = {"MALLOC_ARENA_MAX": "2", "MALLOC_TRIM_THRESHOLD_": "131072"}
"""Bounds what glibc keeps of freed memory: a worker with hundreds of sleepers held a third more."""


class WorkerProcess:
    """One worker process of this checkout."""

    def __init__(
        self, client: Client, environment: Mapping[str, str], *, log: Path, say: Progress, root: Path = ROOT
    ) -> None:
        self._client = client
        self._log = log
        self._say = say
        self._service = Service(
            name="worker",
            argv=(sys.executable, str(root / "worker.py")),
            environment=plain_environment() | HEAP | dict(environment),
            cwd=root,
        )
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The process id of the running worker."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start the worker and wait until it polls; PartFailed with the end of its log if it never does."""
        begin = size_of(self._log)
        self._process = process = await spawn(self._service, log=self._log)
        deadline = time.monotonic() + READY_SECONDS
        while not await _is_polling(self._client, process.pid):
            if process.returncode is not None or time.monotonic() > deadline:
                await self.stop()
                last = tail(self._log, start=begin).replace("\n", "\n    ")
                why = f"it did not begin to work. The end of {self._log}:\n    {last}"
                raise PartFailed("worker", why=why, fix="mend what the log names, then start again")
            await asyncio.sleep(0.1)

    async def stop(self) -> None:
        """Let it end what it does, then end it."""
        if self._process is not None:
            await end(self._process, stop_signal=signal.SIGTERM, limit=STOP_LIMIT)

    async def kill(self) -> None:
        """Kill it as a crash would, with nothing flushed."""
        os.kill(self.pid, signal.SIGKILL)
        assert self._process is not None
        await self._process.wait()

    @asynccontextmanager
    async def kept(self, *, longest_pause: float = LONGEST_PAUSE_SECONDS) -> AsyncGenerator["WorkerProcess"]:
        """Keep a worker running: one that dies is started again, after a pause (s) when it dies young."""
        await self.start()
        keeping = asyncio.create_task(self._keep(longest_pause))
        try:
            yield self
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])
            await self.stop()

    async def _keep(self, longest_pause: float) -> None:
        pause = 0.0
        while True:
            assert self._process is not None
            begun = time.monotonic()
            code = await self._process.wait()
            young = time.monotonic() - begun < SHORT_LIFE_SECONDS
            pause = min(longest_pause, pause * 2 + 1) if young else 0.0
            self._say(f"the worker ended with status {code}; starting it again in {pause:.0f} s")
            await asyncio.sleep(pause)
            try:
                await self.start()
            except PartFailed as error:
                self._say(str(error))


async def _is_polling(client: Client, pid: int) -> bool:
    """Tell whether the server hears of this worker; a server that is away hears of none."""
    request = DescribeTaskQueueRequest(
        namespace=client.namespace,
        task_queue=TaskQueue(name=TASK_QUEUE),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    )
    try:
        described = await client.workflow_service.describe_task_queue(request)
    except (RPCError, RuntimeError):  # the SDK raises the second for a first connection
        return False
    return any(poller.identity.startswith(f"{pid}@") for poller in described.pollers)
