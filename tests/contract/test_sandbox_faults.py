"""How `activities/sandbox_client.py` tells a passing fault of the line from a lost sandbox."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from urllib.parse import urlsplit

import httpx2
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment
from typing_extensions import override

from activities.runner_archive import archive
from activities.sandbox import Sandboxes
from activities.sandbox_client import SandboxClient
from activities.sandbox_rows import SandboxRow, SandboxRows
from activities.sandbox_time import SandboxTime
from activities.settings import Settings
from activities.workspace import MAX_LINE_BYTES, Workspace
from tests.contract.conftest import Bench, tools_of
from workflows.errors import FailureType
from workflows.files import CreateSandbox

SOON = timedelta(seconds=20)
Made = Callable[..., Awaitable[str]]


class Line:
    """A line to the data plane that can be cut or go dead."""

    def __init__(self, server: str) -> None:
        self._target = urlsplit(server)
        self._writers: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self.address = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Line"]:
        server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            self._flows.set()
            self.cut()
            await server.wait_closed()

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def go_dead(self) -> None:
        self._flows.clear()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(self._target.hostname, self._target.port)
        self._writers |= {writer, there[1]}
        await asyncio.gather(self._copy(reader, there[1]), self._copy(there[0], writer))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            return
        finally:
            writer.transport.abort()


def over(bench: Bench, settings: Settings, line: Line) -> Bench:
    """The bench with a client whose data plane is behind the line, and little patience."""
    near = settings.model_copy(update={"e2b_sandbox_url": line.address})
    workspace = Workspace(SandboxClient(near, grace=timedelta(seconds=1)), runner=archive()[1])
    near_bench = replace(bench, client=workspace.client, workspace=workspace)
    return replace(near_bench, tools=tools_of(near_bench))


@pytest.fixture
async def line(settings: Settings) -> AsyncIterator[Line]:
    async with Line(settings.e2b_sandbox_url).open() as opened:
        yield opened


async def test_a_line_cut_in_mid_command_is_retried_and_the_command_runs_once(
    bench: Bench, settings: Settings, line: Line
):
    """While the provider calls the sandbox running it is asked again, and attaches to the same command."""
    sandbox = await bench.create()
    near = over(bench, settings, line)
    command = "echo began >> log; until [ -e go ]; do sleep 0.05; done; wc -l < log"
    head = await bench.reply(("t1", "bash", {"command": command}))

    cut_off = asyncio.create_task(near.run(sandbox, head, "t1", "bash"))
    async with asyncio.timeout(30):
        while "log" not in (await bench.bash(sandbox, "ls")).preview:
            await asyncio.sleep(0.05)
    line.cut()
    with pytest.raises(ApplicationError) as caught:
        await cut_off
    await bench.client.write(sandbox.sandbox_id, f"{sandbox.workspace}/go", b"")
    outcome = await near.run(sandbox, head, "t1", "bash")

    assert caught.value.type == FailureType.RETRYABLE
    assert not caught.value.non_retryable
    assert outcome.preview.strip() == "1"


async def test_a_line_that_goes_dead_does_not_hang_the_worker(bench: Bench, settings: Settings, line: Line):
    """The SDK may wait for ever; the watchdog does not."""
    sandbox = await bench.create()
    near = over(bench, settings, line)
    await near.client.run(sandbox.sandbox_id, "true", within=SOON)
    line.go_dead()

    with pytest.raises(ApplicationError) as caught:
        await near.client.run(sandbox.sandbox_id, "true", within=timedelta(seconds=1))

    assert caught.value.type == FailureType.RETRYABLE


async def test_a_line_cut_with_the_sandbox_gone_is_a_loss(bench: Bench, settings: Settings, line: Line):
    """The provider is asked: a sandbox that it does not call running is not asked again."""
    sandbox = await bench.create()
    near = over(bench, settings, line)
    running = asyncio.create_task(near.client.run(sandbox.sandbox_id, "sleep 100", within=SOON))
    async with asyncio.timeout(30):
        while "sleep" not in (await bench.client.run(sandbox.sandbox_id, "ps ax", within=SOON)).stdout:
            await asyncio.sleep(0.05)

    await bench.client.kill(sandbox.sandbox_id)
    line.cut()
    with pytest.raises(ApplicationError) as caught:
        await running

    assert caught.value.type == FailureType.SANDBOX_LOST


@pytest.mark.parametrize("kind", ["server_error", "bad_gateway", "rate_limit"])
async def test_a_status_in_place_of_an_answer_is_asked_again(bench: Bench, settings: Settings, kind: str):
    """What the way to a sandbox answers in its place is never taken for a bug, nor for a bad template."""
    sandbox = await bench.create()

    for path, step in (
        ("/process.Process", bench.client.run(sandbox.sandbox_id, "true", within=SOON)),
        ("/files", bench.client.write(sandbox.sandbox_id, "a", b"")),
    ):
        await set_fault(settings, kind=kind, path=path)
        with pytest.raises(ApplicationError) as caught:
            await step
        assert (FailureType.RETRYABLE, False) == (caught.value.type, caught.value.non_retryable)
    assert 0 == (await bench.client.run(sandbox.sandbox_id, "true", within=SOON)).exit_code


async def set_fault(settings: Settings, **fault: object) -> None:
    """Turn a switch of the sandbox server."""
    key = settings.e2b_api_key.get_secret_value()
    async with httpx2.AsyncClient(trust_env=False, headers={"X-API-KEY": key}) as client:
        (await client.post(f"{settings.e2b_api_url}/_control/faults", json=fault)).raise_for_status()


class Full(SandboxClient):
    """Writes where there is no room."""

    @override
    async def write(self, sandbox_id: str, path: str, data: bytes) -> None:
        await super().write(sandbox_id, "/dev/full", data)


async def test_a_full_disk_goes_back_to_the_model(bench: Bench, settings: Settings):
    """A large file is refused with a word, and a short command, which needs no room, is run all the same."""
    sandbox = await bench.create()
    workspace = Workspace(Full(settings), runner=archive()[1])
    near = replace(bench, workspace=workspace, tools=tools_of(replace(bench, workspace=workspace)))
    large = await near.use(sandbox, "write_file", {"path": "a", "content": "x" * MAX_LINE_BYTES})
    short = await near.bash(sandbox, "echo made room")

    assert large.is_error
    assert "is full" in large.preview
    assert (False, "made room") == (short.is_error, short.preview.strip())


async def test_a_provider_that_is_away_is_waited_for(settings: Settings):
    """No answer from the control plane is the provider's passing fault."""
    away = SandboxClient(settings.model_copy(update={"e2b_api_url": "http://127.0.0.1:9"}))

    with pytest.raises(ApplicationError) as caught:
        await away.create("nightshift-away", metadata={})

    assert caught.value.type == FailureType.RETRYABLE
    assert settings.e2b_api_key.get_secret_value() not in str(caught.value)


async def test_a_wrong_key_is_waited_for(settings: Settings):
    """Someone must mend it: it is tried again each minute, and the text says so without the key."""
    wrong = SandboxClient(settings.model_copy(update={"e2b_api_key": type(settings.e2b_api_key)("e2b_0000")}))

    with pytest.raises(ApplicationError) as caught:
        await wrong.create("nightshift-wrong", metadata={})

    assert caught.value.next_retry_delay == timedelta(minutes=1)
    assert "restart the worker" in caught.value.message
    assert "e2b_0000" not in caught.value.message


@pytest.fixture
async def made(bench: Bench) -> AsyncIterator[Made]:
    """Makes sandboxes that no row names, in the provider's account; they are killed at the end."""
    ids: list[str] = []

    async def make(row: SandboxRow, **other: str) -> str:
        metadata = await bench.sandboxes._metadata(row) | other
        ids.append(await bench.client.create(f"nightshift-{uuid.uuid4().hex}", metadata=metadata))
        return ids[-1]

    yield make
    for sandbox_id in ids:
        await bench.client.kill(sandbox_id)


async def test_the_sweep_kills_only_what_a_row_asked_for_and_does_not_hold(bench: Bench, made: Made):
    """Not what is held or young, nor another installation's on the same account, nor what has no row here."""
    held = await bench.create()
    row = await bench.rows.open(bench.build_id, role="build", generation=1)
    stray = await made(row)
    others = {
        "another installation's": await made(row, installation=str(uuid.uuid4())),
        "of a build that is in a newer backup": await made(row, build="newer"),
        "of no generation": await made(row, generation=""),
    }

    young = await bench.sandboxes.sweep()
    killed = await bench.sandboxes.sweep(min_age=timedelta(0))
    alive = {name for name, one in others.items() if await bench.client.is_running(one)}

    assert ([], [stray]) == (young, killed)
    assert set(others) == alive
    assert await bench.client.is_running(held.sandbox_id)


async def test_the_sweep_names_the_row_that_waits_for_what_it_kills(bench: Bench, made: Made):
    """A row whose creation died has ended with its sandbox; one that is asked for anew goes on waiting."""
    died = await bench.rows.open(bench.build_id, role="build", generation=1)
    first = await bench.rows.open(bench.build_id, role="check", generation=1)
    orphans = {await made(died), await made(first)}
    await bench.rows.note(first, state="gone")
    await bench.rows.open(bench.build_id, role="check", generation=1)

    killed = await bench.sandboxes.sweep(min_age=timedelta(0))
    rows = {
        row.role: (row.state, row.sandbox_id in orphans) for row in await bench.rows.of_build(bench.build_id)
    }

    assert orphans == set(killed)
    assert {"build": ("gone", True), "check": ("creating", False)} == rows


class StandsStill(SandboxRows):
    """Opens a row, and stands still until it is let go, as a process does whose machine is suspended."""

    def __init__(self, engine: AsyncEngine) -> None:
        super().__init__(engine)
        self.opened, self.goes_on = asyncio.Event(), asyncio.Event()

    @override
    async def open(self, build_id: str, *, role: str, generation: int) -> SandboxRow:
        row = await super().open(build_id, role=role, generation=generation)
        self.opened.set()
        await self.goes_on.wait()
        return row


async def test_an_attempt_that_stood_still_takes_no_row_from_another(bench: Bench, settings: Settings):
    """What another attempt made meanwhile stays the build's, and can be paused as such."""
    rows, time = StandsStill(bench.engine), SandboxTime(bench.engine, settings)
    slow = Sandboxes(bench.workspace, rows, bench.restorer, time=time, settings=settings)
    request = CreateSandbox(build_id=bench.build_id, generation=1)
    still = asyncio.create_task(ActivityEnvironment().run(slow.create_sandbox, request))
    await rows.opened.wait()
    sandbox = await bench.create()
    rows.goes_on.set()
    with pytest.raises(ApplicationError, match="changed by another attempt") as caught:
        await still
    row = await bench.rows.find(bench.build_id, sandbox.sandbox_id)

    assert caught.value.type == FailureType.RETRYABLE
    assert row is not None
    assert row.reference == sandbox
    assert "live" == row.state
