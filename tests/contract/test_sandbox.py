"""The rules of `activities/sandbox.py`, against the real sandbox server."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.restore import Restorer
from activities.restore_points import RestorePoints
from activities.sandbox import Sandboxes
from activities.sandbox_client import SandboxClient
from activities.sandbox_rows import SandboxRows
from activities.sandbox_time import SandboxTime
from activities.settings import Settings
from activities.workspace import Workspace
from tests.contract.conftest import Bench
from workflows.errors import FailureType
from workflows.files import ConnectedSandbox, SandboxRef

SOON = timedelta(seconds=30)


async def connect(bench: Bench, sandbox: SandboxRef) -> ConnectedSandbox:
    return await ActivityEnvironment().run(bench.sandboxes.connect_sandbox, bench.step(sandbox))


async def pause(bench: Bench, sandbox: SandboxRef) -> None:
    await ActivityEnvironment().run(bench.sandboxes.pause_sandbox, bench.step(sandbox))


async def kill(bench: Bench, sandbox: SandboxRef) -> None:
    await ActivityEnvironment().run(bench.sandboxes.kill_sandbox, bench.step(sandbox))


async def state_of(bench: Bench, sandbox: SandboxRef) -> str:
    row = await bench.rows.find(bench.build_id, sandbox.sandbox_id)
    return row.state if row else ""


async def test_a_created_sandbox_has_the_runner_and_an_empty_workspace(bench: Bench):
    """Create gives a sandbox in which tools run; its workspace is empty and under the home directory."""
    sandbox = await bench.create()

    outcome = await bench.bash(sandbox, "pwd; ls -A")

    assert f"{sandbox.home}/workspace" == sandbox.workspace
    assert sandbox.workspace == outcome.preview.strip()


async def test_a_retried_create_gives_the_same_sandbox(bench: Bench):
    """The same build, role and generation have one sandbox, however often it is asked for."""
    first = await bench.create()

    assert first == await bench.create()


async def test_a_create_that_died_before_its_answer_was_noted_is_adopted(bench: Bench):
    """A sandbox made by an attempt that never wrote its id is found by metadata, not made twice."""
    row = await bench.rows.open(bench.build_id, role="build", generation=1)
    orphan = await bench.client.create("nightshift-test", metadata=await bench.sandboxes._metadata(row))

    assert orphan == (await bench.create()).sandbox_id


async def test_a_new_generation_ends_the_older_one(bench: Bench):
    """Creating a later generation kills what an earlier one left."""
    old = await bench.create()

    await bench.create(generation=2)

    assert not await bench.client.exists(old.sandbox_id)
    assert await state_of(bench, old) == "gone"


async def test_the_check_sandbox_leaves_the_build_sandbox_alone(bench: Bench):
    """Roles have generations of their own."""
    build = await bench.create()

    await bench.create(generation=2, role="check")

    assert await bench.client.is_running(build.sandbox_id)


async def test_a_planned_pause_is_resumed_intact(bench: Bench):
    """After pause and connect the same sandbox has its files, and its marker is found."""
    sandbox = await bench.create()
    await bench.bash(sandbox, "echo kept > file")

    await pause(bench, sandbox)
    paused = await bench.client.is_running(sandbox.sandbox_id)
    found = await connect(bench, sandbox)

    assert not paused
    assert found == ConnectedSandbox(intact=True, run_ends=found.run_ends)
    assert (await bench.bash(sandbox, "cat file")).preview.strip() == "kept"


async def test_pause_and_connect_may_be_retried(bench: Bench):
    """A second pause pauses nothing more, a second connect finds it intact again."""
    sandbox = await bench.create()

    await pause(bench, sandbox)
    await pause(bench, sandbox)
    first, second = await connect(bench, sandbox), await connect(bench, sandbox)

    assert (first.intact, second.intact) == (True, True)


async def test_a_pause_that_died_while_it_killed_is_retried(bench: Bench):
    """A sandbox doomed because it could not be paused is killed by the next attempt."""
    sandbox = await bench.create()
    row = await bench.rows.find(bench.build_id, sandbox.sandbox_id)
    assert row is not None
    await bench.rows.note(row, state="doomed")

    await pause(bench, sandbox)

    assert not await bench.client.exists(sandbox.sandbox_id)
    assert "gone" == await state_of(bench, sandbox)


async def test_a_planned_pause_stops_background_processes(bench: Bench):
    """A server that the agent left running is stopped before the pause, so it writes nothing after it."""
    sandbox = await bench.create()
    await bench.use(sandbox, "bash", {"command": "sleep 1000", "background": True})

    await pause(bench, sandbox)
    await connect(bench, sandbox)

    listed = await bench.workspace.ask(sandbox, "processes", {})
    assert not [row for row in listed["processes"] if row["alive"]]


async def test_what_a_process_writes_as_it_is_stopped_is_saved(bench: Bench):
    """The snapshot before a pause is taken after that, so a sandbox that dies in its sleep loses nothing."""
    sandbox = await bench.create()
    writer = "trap 'echo last > end; exit' TERM; echo on > begun; while :; do sleep 0.05; done"
    await bench.use(sandbox, "bash", {"command": writer, "background": True})
    point = await bench.snapshot(sandbox, reason="sleep", full_scan=True)
    await pause(bench, sandbox)
    await bench.client.kill(sandbox.sandbox_id)

    restored = await bench.create(generation=2, restore_point=point.restore_point)

    assert "on\nlast" == (await bench.bash(restored, "cat begun end")).preview.strip()


async def test_files_changed_behind_a_pause_are_a_loss(bench: Bench, sandbox_data: Path):
    """Also where all that the runner keeps beside them came back: the next capture would save the damage."""
    sandbox = await bench.create()
    await bench.bash(sandbox, "mkdir d; echo kept > d/file; echo other > other")
    await pause(bench, sandbox)
    kept = next(sandbox_data.glob(f"**/{sandbox.sandbox_id}/home/workspace/d/file"))
    kept.unlink()

    found = await connect(bench, sandbox)

    assert not found.intact
    assert "not those that were paused" in found.reason


async def test_an_unplanned_pause_is_a_loss(bench: Bench):
    """A sandbox that the provider paused without our asking is not trusted."""
    sandbox = await bench.create()
    await bench.client.pause(sandbox.sandbox_id)

    found = await connect(bench, sandbox)

    assert not found.intact
    assert "without our asking" in found.reason


async def test_a_resume_with_an_old_disk_is_a_loss(bench: Bench):
    """A marker that is not the one of the last pause tells that the files are older than it."""
    sandbox = await bench.create()
    await pause(bench, sandbox)
    row = await bench.rows.find(bench.build_id, sandbox.sandbox_id)
    assert row is not None
    await bench.rows.note(row, state="paused", nonce="of-a-later-pause")

    found = await connect(bench, sandbox)

    assert not found.intact


async def test_a_killed_sandbox_is_a_loss(bench: Bench):
    """Connect answers that it is lost; it does not fail."""
    sandbox = await bench.create()
    await bench.client.kill(sandbox.sandbox_id)

    assert not (await connect(bench, sandbox)).intact


async def test_an_older_generation_is_a_loss(bench: Bench):
    """A reference whose generation is not the row's is refused without touching the sandbox."""
    sandbox = await bench.create()

    found = await connect(bench, sandbox.model_copy(update={"generation": 7}))

    assert not found.intact


async def test_killing_and_pausing_what_is_gone_is_no_failure(bench: Bench):
    """Pause and kill are for cleanup: a sandbox that is gone already is what they want."""
    sandbox = await bench.create()
    await bench.client.kill(sandbox.sandbox_id)

    await pause(bench, sandbox)
    await kill(bench, sandbox)
    await kill(bench, sandbox)

    assert await state_of(bench, sandbox) == "gone"


async def test_a_generation_may_be_made_anew_after_its_kill(bench: Bench):
    """Asking again for a generation that was killed gives another sandbox under the same number."""
    first = await bench.create(role="check")
    await kill(bench, first)

    second = await bench.create(role="check")

    assert first.sandbox_id != second.sandbox_id
    assert await bench.client.is_running(second.sandbox_id)


async def test_asking_a_dead_sandbox_is_a_loss_that_is_not_retried(bench: Bench):
    """Whatever the SDK raises for a sandbox that is gone is SandboxLost, at once and for good."""
    sandbox = await bench.create()
    await bench.client.kill(sandbox.sandbox_id)

    with pytest.raises(ApplicationError) as caught:
        await bench.workspace.ask(sandbox, "probe", {})

    assert caught.value.type == FailureType.SANDBOX_LOST
    assert caught.value.non_retryable


async def test_a_worker_that_held_a_handle_sees_the_loss_too(settings: Settings, bench: Bench):
    """Another worker killed it: the handle that is kept does not hide it."""
    sandbox = await bench.create()
    await SandboxClient(settings).kill(sandbox.sandbox_id)

    with pytest.raises(ApplicationError) as caught:
        await bench.client.run(sandbox.sandbox_id, "true", within=SOON)

    assert caught.value.type == FailureType.SANDBOX_LOST


async def test_doomed_ids_are_killed_until_they_are_gone(bench: Bench):
    """A stray id that the provider once answered with is on the list, and the sweep clears it."""
    sandbox = await bench.create()
    stray = await bench.client.create("nightshift-stray", metadata={"build": bench.build_id})
    row = await bench.rows.find(bench.build_id, sandbox.sandbox_id)
    assert row is not None
    await bench.rows.note(row, state=row.state, strays=[stray])

    await bench.sandboxes.kill_doomed()

    assert not await bench.client.exists(stray)
    assert await bench.client.is_running(sandbox.sandbox_id)
    assert bench.build_id not in {row.build_id for row in await bench.rows.doomed()}


async def test_a_template_without_python_is_refused_with_the_fix(
    settings: Settings, engine: AsyncEngine, bench: Bench
):
    """The preflight names what is missing and which setting mends it."""

    class Bare(SandboxClient):
        async def run(self, sandbox_id, command, *, within):
            return await super().run(sandbox_id, f"PATH=/nowhere; {command}", within=within)

    client = Bare(settings)
    workspace = Workspace(client, runner=b"")
    restorer = Restorer(workspace, bench.objects, RestorePoints(engine), local_sandbox=True)
    time = SandboxTime(engine, settings)
    sandboxes = Sandboxes(workspace, SandboxRows(engine), restorer, time=time, settings=settings)
    bare = replace(bench, sandboxes=sandboxes)

    with pytest.raises(ApplicationError) as caught:
        await bare.create()

    assert caught.value.type == FailureType.INVALID_TEMPLATE
    assert "E2B_TEMPLATE" in caught.value.message


async def test_the_preview_is_reached_from_outside(bench: Bench):
    """A port of the sandbox has an address that the worker and the founder can open."""
    sandbox = await bench.create()
    url = await bench.client.preview_url(sandbox.sandbox_id, 8000)

    assert url.startswith("http://127.0.0.1:")
