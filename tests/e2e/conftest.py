"""The whole stack in a directory of its own, workers as real processes, and the command line."""

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from activities.database import open_database, upgrade_database
from activities.settings import Settings
from starter.attach import DATA_VARIABLE, ROOT
from starter.connect import connect
from starter.local.stack import Stack, open_stack
from starter.running import environment_of
from starter.worker_process import WorkerProcess

OpenWorker = Callable[..., AbstractAsyncContextManager[WorkerProcess]]


@dataclass(frozen=True)
class Everything:
    """A running stack, and how to reach it."""

    stack: Stack
    client: Client
    environment: dict[str, str]
    data: Path

    async def starter(self, *words: str) -> tuple[int, str]:
        """Run `python -m starter …` against this stack; its status and everything it printed."""
        return await run([sys.executable, "-m", "starter", *words], {DATA_VARIABLE: str(self.data)})

    async def temporal(self, *words: str) -> tuple[int, str]:
        """Run the stock Temporal CLI with the stack's own --env-file."""
        program = next(
            Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")).glob(
                "nightshift/bin/temporal-[0-9]*"
            ),
            None,
        )
        found = shutil.which("temporal") or str(program)
        return await run([found, *words, "--env-file", self.stack.env_file], {})


async def run(words: list[str], extra: dict[str, str]) -> tuple[int, str]:
    """Run a program with a plain environment; its status and output."""
    kept = ("PATH", "HOME", "LANG", "XDG_CACHE_HOME", "TMPDIR")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        *words,
        cwd=ROOT,
        env={**environment, "TERM": "dumb", "COLUMNS": "200", **extra},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


@pytest.fixture(scope="package")
async def everything() -> AsyncIterator[Everything]:
    """One stack for all end-to-end tests, stopped after them; what it keeps is removed at the end."""
    data = Path(tempfile.mkdtemp(prefix="nightshift-e2e-"))
    data.chmod(0o711)
    try:
        async with open_stack(ROOT, data=data, fast=True, environment={}) as stack:
            environment = environment_of(stack, {})
            yield Everything(stack, await connect(environment), environment, data)
    finally:
        shutil.rmtree(data, ignore_errors=True)


@pytest.fixture(scope="package")
def open_worker(everything: Everything) -> OpenWorker:
    """Starts worker processes."""

    @asynccontextmanager
    async def start(**settings: str) -> AsyncIterator[WorkerProcess]:
        environment = everything.environment | settings
        worker = WorkerProcess(everything.client, environment, log=everything.data / "worker.log", say=print)
        await worker.start()
        try:
            yield worker
        finally:
            await worker.stop()

    return start


@pytest.fixture(scope="module")
async def worker(open_worker: OpenWorker) -> AsyncIterator[WorkerProcess]:
    """A worker process for all tests of a file that leave it alone."""
    async with open_worker() as started:
        yield started


@asynccontextmanager
async def switches(everything: Everything) -> AsyncIterator[httpx2.AsyncClient]:
    """The switches of the scripted model, all off before and after."""
    environment = everything.environment
    headers = {"Authorization": f"Bearer {environment['ANTHROPIC_API_KEY']}"}
    async with httpx2.AsyncClient(base_url=environment["ANTHROPIC_BASE_URL"], headers=headers) as control:
        await control.delete("/_control/requests")
        try:
            yield control
        finally:
            await control.post("/_control/faults", json=[])
            await control.post("/_control/limits", json={"max_input_tokens": None})
            await control.post("/_control/release", json={})


@pytest.fixture
async def model_control(everything: Everything) -> AsyncIterator[httpx2.AsyncClient]:
    """The switches of the scripted model."""
    async with switches(everything) as control:
        yield control


@pytest.fixture(scope="package")
async def database(everything: Everything) -> AsyncIterator[AsyncEngine]:
    """The stack's database."""
    settings = Settings.from_env(everything.environment)
    await upgrade_database(settings.database_url.get_secret_value())
    async with open_database(settings) as engine:
        yield engine
