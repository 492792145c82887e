"""The parts of a stack, each started alone, so that it can be killed and started again while others run."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from temporalio.client import Client

from starter.attach import ROOT
from starter.connect import connect
from starter.local.ground import Ground
from starter.local.home import Home
from starter.local.parts import Part, PartFailed, Started
from starter.local.ports import Ports
from starter.local.stack import STARTERS
from starter.local.supervisor import Supervisor
from starter.worker_process import WorkerProcess
from tests.chaos.profile import LONGEST_PAUSE_SECONDS, PROFILE

WORKERS = 2
WITNESS = "NIGHTSHIFT_WITNESS"
SANDBOX_PRICE = "30"
"""Microdollars a second, near E2B's own."""
START_SECONDS = 60
"""How long a killed part may take to come back."""


@dataclass
class Parts:
    """Every part of one stack, and its workers."""

    home: Home
    ports: Ports
    environment: dict[str, str] = field(default_factory=dict)
    """What a process needs to reach every part."""
    workers: list[WorkerProcess] = field(default_factory=list)
    _running: dict[Part, Supervisor] = field(default_factory=dict)
    _pids: dict[Part, int] = field(default_factory=dict)

    @property
    def witness(self) -> Path:
        """The file that outlives all sandboxes, into which their commands write."""
        return self.home.directory / "witness"

    async def start(self, part: Part) -> Started:
        """Start a part; once more, until a limit, when the killed one is still in its way."""
        async with asyncio.timeout(START_SECONDS):
            while True:
                supervisor = Supervisor(self.home.logs, on_start=lambda pid: self._pids.update({part: pid}))
                try:
                    started = await STARTERS[part](self._ground(supervisor))
                except PartFailed as failed:
                    print(f"{part} did not start: {failed}", flush=True)
                    await supervisor.stop()
                    await asyncio.sleep(0.2)
                else:
                    self._running[part] = supervisor
                    return started

    def _ground(self, supervisor: Supervisor) -> Ground:
        return Ground(
            root=ROOT,
            home=self.home,
            ports=self.ports,
            supervisor=supervisor,
            progress=print,
            upload_hosts=f"127.0.0.1:{self.ports.claim(Part.S3)}",
            usual_ports=False,
        )

    async def kill(self, part: Part) -> None:
        """Kill a part as a crash would."""
        supervisor = self._running.pop(part)
        os.kill(self._pids[part], signal.SIGKILL)
        with suppress(PartFailed):
            await supervisor.wait()

    async def stop(self) -> None:
        """End everything."""
        await asyncio.gather(*(worker.stop() for worker in self.workers))
        for part in (Part.SANDBOX, Part.MODEL, Part.TEMPORAL, Part.S3, Part.REDIS, Part.POSTGRES):
            if part in self._running:
                await self._running[part].stop()

    async def connect(self) -> Client:
        """Make a client of the stack's Temporal."""
        return await connect(self.environment)


@asynccontextmanager
async def open_parts() -> AsyncIterator[Parts]:
    """A stack in a directory of its own, with two workers that are kept; all is gone at the end."""
    directory = Path(tempfile.mkdtemp(prefix="nightshift-chaos-"))
    directory.chmod(0o711)
    home = Home.open(directory)
    parts = Parts(home, Ports(home.directory / "ports.json"))
    parts.witness.touch()
    os.environ[WITNESS] = str(parts.witness)
    try:
        started = await asyncio.gather(*(parts.start(part) for part in Part))
        parts.environment |= _environment(started)
        async with _workers(parts):
            yield parts
    finally:
        await parts.stop()
        shutil.rmtree(home.sockets(), ignore_errors=True)
        if not os.environ.get("CHAOS_KEEP"):
            shutil.rmtree(directory, ignore_errors=True)


def _environment(started: list[Started]) -> Mapping[str, str]:
    return {name: value for each in started for name, value in each.environment.items()} | {
        "NIGHTSHIFT_LOCAL_MODEL": "true",
        "NIGHTSHIFT_LOCAL_SANDBOX": "true",
        "SANDBOX_MICRODOLLARS_PER_SECOND": SANDBOX_PRICE,
        **PROFILE,
    }


@asynccontextmanager
async def _workers(parts: Parts) -> AsyncIterator[None]:
    client = await parts.connect()
    for number in range(WORKERS):
        log = parts.home.logs / f"worker-{number}.log"
        parts.workers.append(WorkerProcess(client, parts.environment, log=log, say=_silent))
    first, second = parts.workers
    pause = LONGEST_PAUSE_SECONDS
    async with first.kept(longest_pause=pause), second.kept(longest_pause=pause):
        yield


def _silent(_line: str) -> None:
    return
