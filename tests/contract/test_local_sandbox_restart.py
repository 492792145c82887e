"""What outlives the local sandbox server, and what must not."""

import json
import os
import signal
from collections.abc import AsyncIterator

import httpx2
import pytest
from e2b import AsyncSandbox, SandboxNotRunningException, SandboxState

from tests.sandbox_server import SandboxServer, eventually, processes_of, sandbox_server


@pytest.fixture
async def server() -> AsyncIterator[SandboxServer]:
    async with sandbox_server() as started:
        yield started


async def serve_page(sandbox: AsyncSandbox, url: str) -> None:
    """Start a web server inside and wait until its page is shown outside."""
    await sandbox.commands.run("python3 -m http.server 8000", background=True, timeout=0)
    async with httpx2.AsyncClient(trust_env=False) as http:

        async def shown() -> bool:
            return (await http.get(url)).text == "page"

        await eventually(shown)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_restart_keeps_files_and_addresses(server: SandboxServer, number: signal.Signals):
    """However the server ends, no process stays; the next one has files, state and preview addresses."""
    one = await AsyncSandbox.create(**server.client, timeout=3600, metadata={"kept": "yes"})
    frozen = await AsyncSandbox.create(**server.client, timeout=3600)
    await one.files.write("index.html", "page")
    url = await server.preview(one.sandbox_id, port=8000)
    await serve_page(one, url)
    await frozen.commands.run("setsid sleep 60 >/dev/null 2>&1 &")
    await frozen.pause()

    await server.stop(number)

    async def none_left() -> bool:
        return processes_of(one.sandbox_id) + processes_of(frozen.sandbox_id) == []

    await eventually(none_left)
    await server.start()
    info = await one.get_info()
    assert (SandboxState.PAUSED, {"kept": "yes"}) == (info.state, info.metadata)
    with pytest.raises(SandboxNotRunningException):
        await one.commands.run("true")
    await one.connect()
    await serve_page(one, url)
    assert url == await server.preview(one.sandbox_id, port=8000)
    await frozen.connect()
    assert (await frozen.commands.run("echo back")).stdout == "back\n"


async def test_sandbox_that_dies_is_paused(server: SandboxServer):
    """A sandbox whose process was killed is paused, keeps its files, and connects again."""
    one = await AsyncSandbox.create(**server.client, timeout=3600)
    await one.files.write("kept.txt", "kept")
    for pid in processes_of(one.sandbox_id):
        os.kill(pid, signal.SIGKILL)

    async def paused() -> bool:
        return (await one.get_info()).state is SandboxState.PAUSED

    await eventually(paused)
    await one.connect()
    assert await one.files.read("kept.txt") == "kept"


async def test_timeouts_pass_while_the_server_is_down(server: SandboxServer):
    """A sandbox whose time ran out while no server lived is killed by the next one; a paused one is kept."""
    due = await AsyncSandbox.create(**server.client, timeout=3600)
    kept = await AsyncSandbox.create(**server.client, timeout=3600)
    await kept.pause()
    await server.stop(signal.SIGKILL)
    for one in (due, kept):
        record = server.data / "sandboxes" / one.sandbox_id / "record.json"
        stored = json.loads(record.read_text())
        record.write_text(json.dumps({**stored, "end_at": "2020-01-01T00:00:00Z"}))

    await server.start()

    assert not await due.kill()
    assert (await kept.get_info()).state is SandboxState.PAUSED


async def test_idempotency_key_survives_a_restart(server: SandboxServer):
    """A creation repeated after the server's death finds the first one's sandbox, running."""
    first = await AsyncSandbox.create(**server.client, idempotency_key="durable-1")
    await server.stop(signal.SIGKILL)
    await server.start()

    again = await AsyncSandbox.create(**server.client, idempotency_key="durable-1")

    assert first.sandbox_id == again.sandbox_id
    assert (await again.commands.run("echo ok")).stdout == "ok\n"
