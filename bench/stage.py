"""The stack that all is measured on, workers as processes of their own, and a run to its end or death."""

import asyncio
import contextlib
import shutil
import tempfile
import time
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import text
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError

from activities.database import open_database
from activities.settings import Settings
from bench.systems import BENCH, System
from bench.turns import Read
from starter.attach import ROOT
from starter.commands import start_build
from starter.connect import connect
from starter.local.stack import open_stack
from starter.local.supervisor import plain_environment
from starter.running import environment_of
from starter.worker_process import WorkerProcess

Handle = WorkflowHandle[Any, Any]
STALLED_SECONDS = 75.0
"""A run whose history stands still for longer is dead; longer than the frameworks' own timeouts."""
RICH = """INSERT INTO users (id, tier, timezone, cycle_budget)
    VALUES ('bench', 'partner', 'UTC', 1000000000000) ON CONFLICT DO NOTHING"""


@dataclass(frozen=True, slots=True)
class Stage:
    """A running stack."""

    client: Client
    environment: Mapping[str, str]
    data: Path

    async def start_worker(self, system: System, *, hold: str = "") -> "Worker":
        """Start a worker of ours, ready to work, or of a peer; `hold` as `bench/peers/script.py` reads it."""
        if not system.module:
            ours = WorkerProcess(self.client, self.environment, log=self.data / "worker.log", say=print)
            await ours.start()
            await self._write_user()
            return Worker(ours)
        process = await asyncio.create_subprocess_exec(
            str(system.python), "-m", "peers.worker", system.module, *self._address(system),
            cwd=BENCH,
            env=plain_environment()
            | {
                "BENCH_LOG": str(self.calls(system)),
                "BENCH_HOLD": hold,
                "BENCH_HELD": str(self.held(system)),
            },
            stdout=(log := (self.data / f"{system.name}.log").open("a")),
            stderr=log,
        )  # fmt: skip
        return Worker(process)

    def calls(self, system: System) -> Path:
        """Where a peer's script notes what was asked of it."""
        return self.data / f"{system.name}.calls"

    def held(self, system: System) -> Path:
        """What a peer's script makes when it stands still."""
        return self.data / f"{system.name}.held"

    def _address(self, system: System) -> tuple[str, str]:
        return self.environment["TEMPORAL_ADDRESS"], f"bench-{system.name}"

    async def _write_user(self) -> None:
        async with open_database(Settings.from_env(self.environment)) as engine, engine.begin() as connection:
            await connection.execute(text(RICH))

    async def start(self, system: System, turns: int) -> Handle:
        """Start one conversation of so many turns."""
        name = f"{system.name}-{uuid.uuid4().hex[:8]}"
        if system.module:
            return await self.client.start_workflow(
                "Peer", turns, id=name, task_queue=self._address(system)[1]
            )
        request = {
            "idea": f"[[script:long turns={turns}]]",
            "project": name,
            "user": "bench",
            "max_tool_calls": turns + 10,
        }
        return await start_build(self.client, request, name)

    async def read(self, handle: Handle, system: System) -> Read:
        """Read the history of every run of the workflow id, oldest first."""
        read, run_id = Read(), handle.first_execution_run_id
        while run_id:
            run = self.client.get_workflow_handle(handle.id, run_id=run_id)
            events = [event async for event in run.fetch_history_events()]
            await read.take(_each(events), system)
            run_id = events[-1].workflow_execution_continued_as_new_event_attributes.new_execution_run_id
        return read


class Worker:
    """A worker process, ours or a peer's."""

    def __init__(self, process: WorkerProcess | asyncio.subprocess.Process) -> None:
        self._process = process

    async def kill(self) -> None:
        """Kill it as a crash would."""
        if isinstance(self._process, WorkerProcess):
            await self._process.kill()
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


async def _each(events: list[Any]) -> AsyncGenerator[Any]:
    for event in events:
        yield event


@asynccontextmanager
async def open_stage() -> AsyncGenerator[Stage]:
    """Start a whole stack in a directory of its own, as `make up` would; it is removed at the end."""
    data = Path(tempfile.mkdtemp(prefix="nightshift-bench-"))
    data.chmod(0o711)
    try:
        async with open_stack(ROOT, data=data, environment={}) as stack:
            environment = environment_of(stack, {})
            yield Stage(await connect(environment), environment, data)
    finally:
        shutil.rmtree(data, ignore_errors=True)


async def ended(stage: Stage, handle: Handle, *, limit: float) -> str:
    """Wait for the end of a run; gives how it ended: completed, or what it died of, or that time was up."""
    began = moved = time.monotonic()
    seen = (0, "")
    while True:
        described = await stage.client.get_workflow_handle(handle.id).describe()
        if described.status is not WorkflowExecutionStatus.RUNNING:
            if described.status is WorkflowExecutionStatus.COMPLETED:
                return "completed"
            return f"died: {await _why(stage, handle)}"
        now = time.monotonic()
        if seen != (described.history_length, described.run_id):
            seen, moved = (described.history_length, described.run_id), now
        if now - moved > STALLED_SECONDS or now - began > limit:
            why = await _why(stage, handle)
            await _terminate(stage, handle)
            return (
                f"died: stalled, {why}" if now - moved > STALLED_SECONDS else f"stopped after {limit:.0f} s"
            )
        await asyncio.sleep(1)


async def _terminate(stage: Stage, handle: Handle) -> None:
    with contextlib.suppress(RPCError):
        await stage.client.get_workflow_handle(handle.id).terminate("the bench has seen enough")


async def _why(stage: Stage, handle: Handle) -> str:
    """The last failure that history tells of."""
    why = "no reason in history"
    async for event in stage.client.get_workflow_handle(handle.id).fetch_history_events():
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
            why = event.workflow_task_failed_event_attributes.failure.message or "a workflow task failed"
        elif event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED:
            why = event.workflow_execution_failed_event_attributes.failure.message
        elif event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED:
            why = event.workflow_execution_terminated_event_attributes.reason
    return " ".join(why.split())[:200]
