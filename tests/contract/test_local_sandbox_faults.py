"""The switches of the local sandbox server that tests turn, and the one file through its walls."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from e2b import AsyncSandbox, SandboxException

from tests.sandbox_server import KEY, SandboxServer, sandbox_server


@pytest.fixture(scope="module")
async def witness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("outside") / "witness"
    path.touch()
    return path


@pytest.fixture(scope="module")
async def server(witness: Path) -> AsyncIterator[SandboxServer]:
    async with sandbox_server(witness=witness) as started:
        yield started


async def control(server: SandboxServer, faults: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
    """Set the faults to come, or only ask for them."""
    async with httpx2.AsyncClient(trust_env=False, headers={"X-API-KEY": KEY}) as http:
        url = f"{server.url}/_control/faults"
        answer = await (http.get(url) if faults is None else http.post(url, json=faults))
        assert answer.status_code == 200, answer.text
        return answer.json()


async def test_a_fault_hits_its_plane_when_it_is_due_and_is_used_up(server: SandboxServer):
    """The second request of the control plane is refused; the data plane and the third are not."""
    sandbox = await AsyncSandbox.create(**server.client)
    await control(server, [{"kind": "rate_limit", "plane": "control", "after": 1}])

    assert "hi\n" == (await sandbox.commands.run("echo hi")).stdout
    async with httpx2.AsyncClient(trust_env=False, headers={"X-API-KEY": KEY}) as http:
        statuses = [(await http.get(f"{server.url}/sandboxes")).status_code for _ in range(3)]
    assert [200, 429, 200] == statuses
    assert [] == await control(server)


async def test_a_dropped_stream_leaves_the_command_running(server: SandboxServer):
    """As on E2B, who follows a command hears no more of it, and the command goes on."""
    sandbox = await AsyncSandbox.create(**server.client)
    await control(server, [{"kind": "drop", "seconds": 0.5}])

    with pytest.raises(SandboxException):
        await sandbox.commands.run("echo begun; sleep 2; echo ended > done")
    await sandbox.commands.run("until [ -e done ]; do sleep 0.05; done", timeout=20)


async def test_a_stall_only_takes_time(server: SandboxServer):
    """A request stands still and then goes on."""
    sandbox = await AsyncSandbox.create(**server.client)
    await control(server, [{"kind": "stall", "seconds": 0.5}])
    begun = time.monotonic()

    assert "hi\n" == (await sandbox.commands.run("echo hi")).stdout
    assert time.monotonic() - begun >= 0.5


async def test_a_switch_that_there_is_not_is_refused_with_its_name(server: SandboxServer):
    """A test that misspells a fault must not pass for want of one."""
    async with httpx2.AsyncClient(trust_env=False, headers={"X-API-KEY": KEY}) as http:
        answer = await http.post(f"{server.url}/_control/faults", json=[{"kind": "flood"}])

    assert (400, True) == (answer.status_code, "kind" in answer.text)


async def test_what_sandboxes_testify_stands_outside_them(server: SandboxServer, witness: Path):
    """Every sandbox adds to the one file, and it outlives them."""
    for word in ("one", "two"):
        sandbox = await AsyncSandbox.create(**server.client)
        await sandbox.commands.run(f"echo {word} $E2B_SANDBOX_ID >>$LOCAL_WITNESS")
        await sandbox.kill()

    assert ["one", "two"] == [line.split()[0] for line in witness.read_text().splitlines()]


async def test_without_a_witness_nothing_outside_is_writable():
    """It is there for tests that name a file, and for nobody else."""
    async with sandbox_server() as server:
        sandbox = await AsyncSandbox.create(**server.client)

        assert "[]\n" == (await sandbox.commands.run("echo [$LOCAL_WITNESS]; ls /run")).stdout
