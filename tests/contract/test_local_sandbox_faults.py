"""The fault switches of the local sandbox server, and what E2B's SDK makes of each."""

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest
from e2b import (
    AsyncSandbox,
    CommandExitException,
    NotEnoughSpaceException,
    RateLimitException,
    SandboxException,
    SandboxNotFoundException,
)

from tests.sandbox_server import SandboxServer, eventually, sandbox_server


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[SandboxServer]:
    async with sandbox_server() as started:
        yield started


@pytest.fixture
async def sandbox(server: SandboxServer) -> AsyncIterator[AsyncSandbox]:
    one = await AsyncSandbox.create(**server.client, retries=0, metadata={"a": "b"})
    yield one
    await server.clear_faults()
    await one.kill()


async def test_faults_need_the_key_and_a_known_kind(server: SandboxServer):
    """Who has not the key sets no fault; a kind that is not known is refused by name."""
    async with httpx2.AsyncClient(trust_env=False) as http:
        path = f"{server.url}/_control/faults"
        without = await http.post(path, json={"kind": "stall"})
        wrong = await http.post(path, json={"kind": "nosuch"}, headers={"x-api-key": "a key of this test"})

    assert without.status_code == 401
    assert (400, True) == (wrong.status_code, "kind" in wrong.json()["message"])


async def test_a_resume_brings_back_old_files(server: SandboxServer, sandbox: AsyncSandbox):
    """stale_files: what was written after the fault was set is gone after the next resume, once."""
    await sandbox.commands.run("echo old > file; mkdir d; ln file d/link")
    await server.fault(kind="stale_files", sandbox=sandbox.sandbox_id)
    await sandbox.commands.run("echo new > file; echo new > other; rm -r d")
    await sandbox.pause()

    await sandbox.connect()
    first = await sandbox.commands.run("cat file; ls; stat -c %h file")
    await sandbox.commands.run("echo kept > file")
    await sandbox.pause()
    await sandbox.connect()

    assert first.stdout == "old\nd\nfile\n2\n"
    assert (await sandbox.commands.run("cat file")).stdout == "kept\n"


async def test_a_connect_answers_with_another_sandbox(server: SandboxServer, sandbox: AsyncSandbox):
    """other_id: another sandbox with the same metadata and part of the files; the real one is still there."""
    await sandbox.commands.run("echo shown > shown; echo hidden > .hidden")
    await server.fault(kind="other_id", sandbox=sandbox.sandbox_id)
    await sandbox.pause()

    other = await AsyncSandbox.connect(sandbox.sandbox_id, **server.client)
    again = await AsyncSandbox.connect(sandbox.sandbox_id, **server.client)

    assert other.sandbox_id != sandbox.sandbox_id
    assert again.sandbox_id == sandbox.sandbox_id
    assert (await other.get_info()).metadata == {"a": "b"}
    assert (await other.commands.run("ls -A")).stdout == "shown\n"
    await other.kill()


async def test_a_bad_gateway_runs_nothing_and_a_lost_answer_does(
    server: SandboxServer, sandbox: AsyncSandbox
):
    """Both are a 502 to the client; after the first nothing ran, after the second the command did."""
    for kind in ("bad_gateway", "lost_answer"):
        await server.fault(kind=kind, sandbox=sandbox.sandbox_id)
        with pytest.raises(SandboxException):
            await sandbox.commands.run(f"echo {kind} >> ran")

    assert await sandbox.files.read("ran") == "lost_answer\n"


async def test_a_dropped_stream_leaves_the_command_running(server: SandboxServer, sandbox: AsyncSandbox):
    """drop: the client hears of a broken stream, the command goes on; a file arrives as no whole file."""
    await server.fault(kind="drop", sandbox=sandbox.sandbox_id)
    with pytest.raises(Exception):  # noqa: B017, PT011 -- whatever the SDK calls a broken stream
        await sandbox.commands.run("echo begun; sleep 0.2; echo done > done")

    async def is_done() -> bool:
        return await sandbox.files.exists("done")

    await eventually(is_done)
    await sandbox.files.write("large", b"x" * 100_000)
    await server.fault(kind="drop", sandbox=sandbox.sandbox_id)
    with pytest.raises(Exception):  # noqa: B017, PT011 -- whatever the SDK calls a broken download
        await sandbox.files.read("large")


async def test_a_stalled_answer_comes_late(server: SandboxServer, sandbox: AsyncSandbox):
    """stall: the request is carried out at once, its answer waits."""
    await server.fault(kind="stall", path="process.Process/Start", seconds=60)
    stalled = asyncio.create_task(sandbox.commands.run("echo ran > ran"))

    async def has_run() -> bool:
        return await sandbox.files.exists("ran")

    await eventually(has_run)

    assert not stalled.done()
    stalled.cancel()
    await asyncio.gather(stalled, return_exceptions=True)


async def test_a_sandbox_is_killed_without_warning(server: SandboxServer, sandbox: AsyncSandbox):
    """killed: in the middle of a command the sandbox is gone, with all its files."""
    await server.fault(kind="killed", sandbox=sandbox.sandbox_id)

    with pytest.raises(Exception):  # noqa: B017, PT011 -- the SDK's word for it depends on when it looks
        await sandbox.commands.run("sleep 30")
    with pytest.raises(SandboxNotFoundException):
        await sandbox.get_info()


async def test_a_full_disk_refuses_large_writes_for_a_while(server: SandboxServer, sandbox: AsyncSandbox):
    """disk_full: uploads say so, commands fail at more than a little, removing works; then there is room."""
    await sandbox.commands.run("echo 1 > small")
    await server.fault(kind="disk_full", sandbox=sandbox.sandbox_id, seconds=60)
    with pytest.raises(NotEnoughSpaceException):
        await sandbox.files.write("large", b"x" * 1_000_000)
    with pytest.raises(CommandExitException):
        await sandbox.commands.run("head -c 1000000 /dev/zero > large")
    await sandbox.commands.run("rm small; echo a little > little")
    await server.fault(kind="disk_full", sandbox=sandbox.sandbox_id, seconds=0)

    async def has_room() -> bool:
        try:
            await sandbox.files.write("large", b"x" * 1_000_000)
        except NotEnoughSpaceException:
            return False
        return True

    await eventually(has_room)


async def test_too_many_requests_are_told_when_to_come_back(server: SandboxServer, sandbox: AsyncSandbox):
    """rate_limit: the control plane answers 429 with a retry-after, the data plane goes on."""
    await server.fault(kind="rate_limit", times=2, seconds=7)
    with pytest.raises(RateLimitException):
        await sandbox.get_info()
    async with httpx2.AsyncClient(trust_env=False) as http:
        answer = await http.get(f"{server.url}/sandboxes", headers={"x-api-key": "a key of this test"})

    assert (429, "7") == (answer.status_code, answer.headers["retry-after"])
    assert (await sandbox.commands.run("echo on")).stdout == "on\n"


async def test_faults_are_shown_and_forgotten(server: SandboxServer, sandbox: AsyncSandbox):
    """Those to come are listed; `after` lets requests pass first; DELETE forgets them all."""
    listed = await server.fault(kind="bad_gateway", path="/sandboxes", after=1, sandbox=sandbox.sandbox_id)
    await sandbox.get_info()
    with pytest.raises(SandboxException):
        await sandbox.get_info()
    await server.fault(kind="bad_gateway", times=5)
    await server.clear_faults()

    assert [("bad_gateway", 1)] == [(fault["kind"], fault["after"]) for fault in listed]
    assert (await sandbox.commands.run("echo well")).stdout == "well\n"
