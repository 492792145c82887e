"""A sandbox whose disk the agent filled: the model is told, and can make room again."""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.runner_archive import archive
from activities.sandbox import Sandboxes
from activities.sandbox_client import SandboxClient
from activities.sandbox_time import SandboxTime
from activities.settings import Settings
from activities.snapshots import Snapshots
from activities.workspace import Workspace
from tests.contract.conftest import KEY, ROOT, Bench, _free_port, _ready, tools_of
from workflows.errors import FailureType
from workflows.files import SandboxRef, TakeSnapshot

HOME = "/home/user"
SMALL = """mkdir -p "$1" && mount -t tmpfs -o size=24m tmpfs "$1" && shift && exec "$@" """
FILL = "head -c 30000000 /dev/zero > big 2> /dev/null; dd if=/dev/zero of=rest bs=1k 2> /dev/null; echo full"
REFUSED = "The sandbox could not do it: its disk is full. Short commands in bash still work"


def _can_mount() -> bool:
    program = shutil.which("unshare")
    return bool(program) and os.system(f"{program} -rm mount -t tmpfs tmpfs /mnt 2> /dev/null") == 0  # noqa: S605


@pytest.fixture(scope="module")
async def small_server(
    services: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[str]:
    """A sandbox server whose disk has 24 MiB."""
    folder: Path = tmp_path_factory.mktemp("small")
    port = _free_port()
    server = (sys.executable, "-m", "starter.local.sandbox", "--port", str(port), "--data", f"{folder}/data")
    process = await asyncio.create_subprocess_exec(
        *("unshare", "-rm", "sh", "-c", SMALL, "sh", f"{folder}/data"),
        *server,
        cwd=ROOT,
        env={
            **os.environ,
            "NIGHTSHIFT_LOCAL_KEY": KEY,
            "NIGHTSHIFT_UPLOAD_HOSTS": urlsplit(services["AWS_ENDPOINT_URL_S3"]).netloc,
        },
        start_new_session=True,
    )
    try:
        await _ready(f"http://127.0.0.1:{port}/healthz", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@pytest.fixture
def small(bench: Bench, settings: Settings, small_server: str) -> Bench:
    """The bench with its sandboxes on the small disk."""
    near = settings.model_copy(update={"e2b_api_url": small_server, "e2b_sandbox_url": small_server})
    workspace = Workspace(SandboxClient(near), runner=archive()[1])
    sandboxes = Sandboxes(
        workspace, bench.rows, bench.restorer, time=SandboxTime(bench.engine, near), settings=near
    )
    made = replace(bench, client=workspace.client, workspace=workspace, sandboxes=sandboxes)
    return replace(made, tools=tools_of(made))


async def _created(small: Bench) -> SandboxRef:
    """A sandbox with the runner in it, though its disk is smaller than a build is given."""
    sandbox_id = await small.client.create(small.build_id, metadata={})
    sandbox = SandboxRef(sandbox_id=sandbox_id, generation=1, home=HOME, workspace=f"{HOME}/workspace")
    await small.workspace.ship(sandbox)
    return sandbox


@pytest.mark.skipif(not _can_mount(), reason="this machine lets nobody mount a small disk")
async def test_a_full_disk_is_told_to_the_model_which_can_make_room(small: Bench):
    """Whatever cannot be done is an error result that says what to do; rm works, and all goes on."""
    sandbox = await _created(small)
    await small.use(sandbox, "write_file", {"path": "kept.txt", "content": "kept"})
    filled = await small.bash(sandbox, FILL)
    wrote = await small.use(sandbox, "write_file", {"path": "a.txt", "content": "x" * 200_000})
    short = await small.use(sandbox, "write_file", {"path": "b.txt", "content": "x" * 20_000})
    listed = [await small.bash(sandbox, "ls") for _ in range(3)]
    found = await small.use(sandbox, "grep", {"pattern": "kept"})
    removed = await small.bash(sandbox, "rm -f big rest; echo removed")
    again = await small.use(sandbox, "write_file", {"path": "a.txt", "content": "x" * 200_000})

    assert "Exit code 1" in filled.preview
    assert "not saved yet: No space left on device" in filled.preview
    assert [True, True] == [wrote.is_error, short.is_error]
    assert all(each.preview.startswith(REFUSED) for each in (wrote, short))
    assert ["big kept.txt rest"] * 3 == [" ".join(each.preview.split()[:3]) for each in listed]
    assert ("kept.txt", False) == (found.preview, found.is_error)
    assert (True, False) == ("removed" in removed.preview, again.is_error)
    assert again.captured > 0


@pytest.mark.skipif(not _can_mount(), reason="this machine lets nobody mount a small disk")
async def test_a_full_disk_stops_no_build_and_touches_no_restore_point(small: Bench):
    """A snapshot fails at once, saying what to delete; a pause goes through; with room again all is saved."""
    small = replace(small, snapshots=_snapshots_of(small))
    sandbox = await _created(small)
    row = await small.rows.open(small.build_id, role="build", generation=1)
    await small.rows.note(row, state="live", sandbox_id=sandbox.sandbox_id)
    kept = await small.bash(sandbox, "echo kept > kept")
    good = await small.snapshot(sandbox, captured=kept.captured)
    filled = await small.bash(sandbox, FILL)
    request = {"turn": 2, "recapture": filled.uncaptured}
    failures = [await _failure(small, sandbox, request | {"full_scan": whole}) for whole in (False, True)]
    newest = (await small.points.last(_asked(small, sandbox))).id
    await ActivityEnvironment().run(small.sandboxes.pause_sandbox, small.step(sandbox))
    found = await ActivityEnvironment().run(small.sandboxes.connect_sandbox, small.step(sandbox))
    removed = await small.bash(sandbox, "rm -f big rest; echo removed > removed")
    saved = await small.snapshot(sandbox, captured=removed.captured, turn=3)

    assert (True, 0) == (filled.uncaptured, filled.captured)
    assert [FailureType.DISK_FULL] * 2 == [each.type for each in failures]
    assert all(each.non_retryable and "delete what you do not need" in each.message for each in failures)
    assert good.restore_point == newest
    assert found.intact, found.reason
    assert (2, False) == (saved.files, removed.uncaptured)


def _snapshots_of(small: Bench) -> Snapshots:
    return Snapshots(
        small.workspace,
        small.objects,
        small.points,
        small.restorer,
        stored=small.stored,
        captures=small.captures,
        local_sandbox=True,
    )


def _asked(small: Bench, sandbox: SandboxRef) -> TakeSnapshot:
    return TakeSnapshot(build_id=small.build_id, project="", sandbox=sandbox, turn=2, head=1)


async def _failure(small: Bench, sandbox: SandboxRef, request: Mapping[str, object]) -> ApplicationError:
    with pytest.raises(ApplicationError) as caught:
        await small.snapshot(sandbox, **request)
    return caught.value
