"""Each fault of a sandbox provider, met by our adapters: noticed or retried, nothing twice, the model told.

Retries are made here as Temporal makes them: the same request again.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.runner_archive import archive
from activities.sandbox_client import SandboxClient
from activities.settings import Settings
from activities.workspace import Workspace
from tests.contract.conftest import KEY, Bench, open_bench, tools_of
from workflows.errors import FailureType
from workflows.files import ConnectedSandbox, SandboxRef
from workflows.turns import ToolOutcome

START = "/process.Process/Start"
ONCE = {"command": "echo ran >> ran; wc -l < ran"}


class Faults:
    """The fault switches of the bench's sandbox server."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/_control/faults"

    async def set(self, **fault: Any) -> None:
        async with httpx2.AsyncClient(trust_env=False, headers={"x-api-key": KEY}) as http:
            (await http.post(self._url, json=fault)).raise_for_status()

    async def clear(self) -> None:
        async with httpx2.AsyncClient(trust_env=False, headers={"x-api-key": KEY}) as http:
            (await http.delete(self._url)).raise_for_status()


@pytest.fixture
async def faults(settings: Settings) -> AsyncIterator[Faults]:
    """The switches, all off again after the test."""
    switches = Faults(settings.e2b_api_url)
    yield switches
    await switches.clear()


async def paused_and_connected(bench: Bench, sandbox: SandboxRef) -> ConnectedSandbox:
    await ActivityEnvironment().run(bench.sandboxes.pause_sandbox, bench.step(sandbox))
    return await ActivityEnvironment().run(bench.sandboxes.connect_sandbox, bench.step(sandbox))


async def retried(bench: Bench, sandbox: SandboxRef, head: int) -> tuple[ToolOutcome, list[str]]:
    """Run a call until it is answered; give the answer and the failures before it."""
    failures: list[str] = []
    while len(failures) < 5:
        try:
            return await bench.run(sandbox, head, "t1", "bash"), failures
        except ApplicationError as error:
            assert error.type == FailureType.RETRYABLE, error.message  # noqa: PT017 -- those are retried
            failures.append(error.message)
    raise AssertionError(failures)


async def test_files_that_are_old_after_a_resume_are_a_loss(bench: Bench, faults: Faults):
    """E2B #884: the marker of the pause is not in the files that came back, so they are not worked on."""
    sandbox = await bench.create()
    await faults.set(kind="stale_files", sandbox=sandbox.sandbox_id)
    await bench.bash(sandbox, "echo work > work")

    found = await paused_and_connected(bench, sandbox)

    assert not found.intact
    assert "marker" in found.reason


async def test_files_that_are_old_after_a_second_resume_are_a_loss(bench: Bench, faults: Faults):
    """An older pause's marker is there; it is not the one of the last pause."""
    sandbox = await bench.create()
    first = await paused_and_connected(bench, sandbox)
    await faults.set(kind="stale_files", sandbox=sandbox.sandbox_id)
    await bench.bash(sandbox, "echo work > work")

    second = await paused_and_connected(bench, sandbox)

    assert (True, False) == (first.intact, second.intact)


async def test_another_id_after_a_connect_is_a_loss_and_is_killed(bench: Bench, faults: Faults):
    """A sandbox that looks like ours and is another one is never worked in, and does not live on."""
    sandbox = await bench.create()
    await bench.bash(sandbox, "echo work > work")
    await faults.set(kind="other_id", sandbox=sandbox.sandbox_id)

    found = await paused_and_connected(bench, sandbox)
    left = [one.sandbox_id for one in await bench.client.all({"build": bench.build_id})]

    assert not found.intact
    assert "another sandbox" in found.reason
    assert [sandbox.sandbox_id] == left


async def test_another_id_while_pausing_leaves_nothing_running(
    bench: Bench, engine: AsyncEngine, settings: Settings, faults: Faults
):
    """What cannot be paused would run on and be paid for: another worker that finds no way to it kills it."""
    sandbox = await bench.create()
    await faults.set(kind="other_id", sandbox=sandbox.sandbox_id)

    async with open_bench(settings, engine, bench.objects, bench.events) as other:
        await ActivityEnvironment().run(other.sandboxes.pause_sandbox, bench.step(sandbox))
    found = await ActivityEnvironment().run(bench.sandboxes.connect_sandbox, bench.step(sandbox))

    assert not found.intact
    assert [] == await bench.client.all({"build": bench.build_id})


async def test_a_pause_whose_answer_is_late_is_a_pause(bench: Bench, settings: Settings, faults: Faults):
    """A sandbox that sleeps by the time its pause was given up is none that runs on, and is not killed."""
    sandbox = await bench.create()
    await faults.set(kind="stall", path="/pause", seconds=8)
    impatient = SandboxClient(settings, grace=timedelta(seconds=0.5))

    await impatient.pause(sandbox.sandbox_id)

    assert not await bench.client.is_running(sandbox.sandbox_id)
    assert await bench.client.exists(sandbox.sandbox_id)


async def test_another_id_while_working_is_a_loss(bench: Bench, settings: Settings, faults: Faults):
    """A worker that finds its way back to a running sandbox takes no other for it, and leaves none behind."""
    sandbox = await bench.create()
    await faults.set(kind="other_id", sandbox=sandbox.sandbox_id)

    with pytest.raises(ApplicationError) as caught:
        await SandboxClient(settings).run(sandbox.sandbox_id, "true", within=timedelta(seconds=5))

    assert caught.value.type == FailureType.SANDBOX_LOST
    assert [sandbox.sandbox_id] == [
        one.sandbox_id for one in await bench.client.all({"build": bench.build_id})
    ]


@pytest.mark.parametrize("kind", ["bad_gateway", "lost_answer", "drop"])
async def test_a_broken_answer_is_retried_and_the_command_runs_once(bench: Bench, faults: Faults, kind: str):
    """Whether the request, its answer or half of the answer was lost: one start, one result."""
    sandbox = await bench.create()
    head = await bench.reply(("t1", "bash", ONCE))
    await faults.set(kind=kind, sandbox=sandbox.sandbox_id, path=START)

    outcome, failures = await retried(bench, sandbox, head)

    assert 1 == len(failures)
    assert (False, "1") == (outcome.is_error, outcome.preview.strip())


async def test_an_answer_that_stalls_is_given_up_and_the_command_runs_once(
    bench: Bench, settings: Settings, faults: Faults
):
    """The watchdog does not wait for ever; the next attempt gets the answer of the first."""
    sandbox = await bench.create()
    workspace = Workspace(SandboxClient(settings, grace=timedelta(seconds=-59.5)), runner=archive()[1])
    hasty = replace(bench, workspace=workspace)
    hasty = replace(hasty, tools=tools_of(hasty))
    head = await bench.reply(("t1", "bash", {**ONCE, "timeout_seconds": 2}))
    await faults.set(kind="stall", sandbox=sandbox.sandbox_id, path=START, seconds=600)

    with pytest.raises(ApplicationError) as caught:
        await hasty.run(sandbox, head, "t1", "bash")
    outcome, failures = await retried(bench, sandbox, head)

    assert caught.value.type == FailureType.RETRYABLE
    assert [] == failures
    assert "1" == outcome.preview.strip()


async def test_a_sandbox_killed_in_mid_command_is_a_loss_and_the_model_is_told(bench: Bench, faults: Faults):
    """The command is not run again in the next sandbox: its result says that it may have taken effect."""
    sandbox = await bench.create()
    head = await bench.reply(("t1", "bash", {"command": "sleep 30; echo late > late"}))
    await faults.set(kind="killed", sandbox=sandbox.sandbox_id, path=START)

    with pytest.raises(ApplicationError) as caught:
        await bench.run(sandbox, head, "t1", "bash")
    fresh = await bench.create(generation=2)
    outcome = await bench.run(fresh, head, "t1", "bash")

    assert caught.value.type == FailureType.SANDBOX_LOST
    assert (True, True) == (outcome.is_error, outcome.interrupted)
    assert "may or may not have taken effect" in outcome.preview
    assert "late" not in (await bench.bash(fresh, "ls")).preview


async def test_a_full_disk_is_told_and_the_next_call_works(bench: Bench, faults: Faults):
    """What does not fit is an error result that says so; with room again the work goes on."""
    sandbox = await bench.create()
    large = {"path": "large", "content": "x" * 300_000}
    await faults.set(kind="disk_full", sandbox=sandbox.sandbox_id, seconds=60)
    full = await bench.use(sandbox, "write_file", large)
    await faults.set(kind="disk_full", sandbox=sandbox.sandbox_id, seconds=0)
    room = await bench.use(sandbox, "write_file", large)

    assert (True, False) == (full.is_error, room.is_error)
    assert "its disk is full" in full.preview


async def test_a_creation_whose_answer_was_lost_is_not_made_twice(bench: Bench, faults: Faults):
    """The retry finds what the first attempt made."""
    await faults.set(kind="lost_answer", path="/v2/sandboxes", after=1)
    with pytest.raises(ApplicationError) as caught:
        await bench.create()
    sandbox = await bench.create()

    made = await bench.client.all({"build": bench.build_id})

    assert caught.value.type == FailureType.RETRYABLE
    assert [sandbox.sandbox_id] == [one.sandbox_id for one in made]


async def test_too_many_requests_are_retried(bench: Bench, faults: Faults):
    """A 429 is the provider's passing word, told in a sentence."""
    await faults.set(kind="rate_limit", times=1)
    with pytest.raises(ApplicationError) as caught:
        await bench.create()

    assert caught.value.type == FailureType.RETRYABLE
    assert "allows no more just now" in caught.value.message
    assert (await bench.bash(await bench.create(), "echo on")).preview.strip() == "on"
