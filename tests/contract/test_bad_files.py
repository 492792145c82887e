"""Files that no snapshot likes, buckets that fail, damaged packs: told, and nothing good is touched."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.captures import Captures
from activities.failures import DiskFull
from activities.objects import Objects
from activities.restore import Restorer, pack_key
from activities.runner_archive import archive
from activities.sandbox import Sandboxes
from activities.sandbox_client import SandboxClient
from activities.sandbox_time import SandboxTime
from activities.settings import Settings
from activities.snapshots import Snapshots
from activities.stored_objects import StoredObjects
from activities.unsaved import TOLD_AFTER
from activities.workspace import Workspace
from tests.contract.conftest import Bench, tools_of
from workflows.errors import FailureType
from workflows.files import CreateSandbox, RestorePoint, SandboxRef, TakeSnapshot

STRANGE = """truncate -s 5G huge; truncate -s 200M sparse; printf end >> sparse; mkfifo pipe
python3 -c "import socket; socket.socket(socket.AF_UNIX).bind('socket')"
mkdir -p closed/in; echo kept > closed/f; echo deep > closed/in/g; echo secret > shut; echo x > open"""
SHOWN = "cd ~/workspace; ls; cat closed/f closed/in/g shut; tail -c 3 sparse; echo; du -k sparse | cut -f1"
CLOSE = "chmod 000 closed shut; echo y > open"
READABLE = "chmod 755 ~/workspace/closed; chmod 644 ~/workspace/shut"
GROWING = """nohup setsid sh -c 'while :; do echo line >> ~/workspace/log; done' > /dev/null 2>&1 &"""


def parts_of(bench: Bench, objects: Objects, captures: Captures | None = None) -> Bench:
    """The bench with another bucket or other captures."""
    restorer = Restorer(bench.workspace, objects, bench.points, local_sandbox=True)
    kept = captures or bench.captures
    stored = StoredObjects(bench.engine, objects)
    snapshots = Snapshots(
        bench.workspace, objects, bench.points, restorer, stored=stored, captures=kept, local_sandbox=True
    )
    changed = {"objects": objects, "captures": kept, "restorer": restorer, "stored": stored}
    made = replace(bench, snapshots=snapshots, **changed)
    return replace(made, tools=tools_of(made))


@asynccontextmanager
async def bucket(settings: Settings, **other: str) -> AsyncIterator[Objects]:
    """The bucket by another address or key; nobody asks whether it is there."""

    class Unasked(Objects):
        async def ensure_bucket(self, region):
            return

    async with Unasked.open(
        settings.model_copy(update=Settings.model_validate(other).model_dump(include=set(other)))
    ) as opened:
        yield opened


async def run(bench: Bench, sandbox: SandboxRef, line: str) -> str:
    """Run a line of shell in a sandbox, past the runner."""
    return (await bench.client.run(sandbox.sandbox_id, line, within=timedelta(seconds=60))).stdout


async def after_a_while(bench: Bench, sandbox: SandboxRef) -> ApplicationError:
    """Give what a snapshot fails with that was tried for longer than a minute already."""
    environment, now = ActivityEnvironment(), datetime.now(UTC)
    environment.info = replace(environment.info, scheduled_time=now - TOLD_AFTER, started_time=now)
    request = TakeSnapshot(
        build_id=bench.build_id,
        project=f"project-{bench.build_id}",
        sandbox=sandbox,
        turn=2,
        head=1,
        tell_outage=True,
    )
    with pytest.raises(ApplicationError) as caught:
        await environment.run(bench.snapshots.take_snapshot, request)
    return caught.value


async def failing(bench: Bench, sandbox: SandboxRef, **fields: object) -> ApplicationError:
    with pytest.raises(ApplicationError) as caught:
        await bench.snapshot(sandbox, **fields)
    return caught.value


async def test_what_cannot_be_saved_is_told_by_name_and_all_else_is_saved(bench: Bench):
    """5 GB are left out, a sparse file stays sparse, FIFO and socket pass, closed ones keep what they had."""
    sandbox = await bench.create()
    made = await bench.bash(sandbox, STRANGE)
    first = await bench.snapshot(sandbox, captured=made.captured)
    closed = await bench.bash(sandbox, CLOSE)
    second = await bench.snapshot(sandbox, captured=closed.captured, turn=2)
    whole = await bench.restorer.manifest(second.restore_point)
    again = await bench.create(generation=2, restore_point=second.restore_point)
    await run(bench, again, READABLE)
    shown = (await run(bench, again, SHOWN)).split()

    assert "[Not saved, too large or unreadable, and lost when the sandbox is: huge]" in made.preview
    assert "closed]" in closed.preview
    assert (("huge",), ("closed",)) == (first.omitted, second.omitted)
    assert ("omitted", True) == (whole.entries["huge"].kind, whole.entries["closed"].partial)
    assert ["closed", "open", "shut", "sparse", "kept", "deep", "secret", "end"] == shown[:-1]
    assert int(shown[-1]) < 10_000


async def test_a_disk_too_small_for_a_restore_is_the_template_s(bench: Bench, settings: Settings):
    """Also where it is the worker that finds no room: waiting makes none."""

    class Small(SandboxClient):
        async def write(self, sandbox_id, path, data):
            if "/restore-" in path:
                raise DiskFull("The sandbox's disk is full.", type=FailureType.RETRYABLE)
            await super().write(sandbox_id, path, data)

    sandbox = await bench.create()
    point = await bench.snapshot(sandbox)
    workspace = Workspace(Small(settings), runner=archive()[1])
    restorer = Restorer(workspace, bench.objects, bench.points, local_sandbox=True)
    with pytest.raises(ApplicationError) as caught:
        await restorer.restore(sandbox, point.restore_point, source_only=False)

    assert (FailureType.INVALID_TEMPLATE, True) == (caught.value.type, caught.value.non_retryable)


async def test_a_workspace_that_is_closed_keeps_what_it_had(bench: Bench):
    """As any directory that can be read no more: the next restore point has its files."""
    sandbox = await bench.create()
    await bench.bash(sandbox, "mkdir in; echo kept > in/f")
    closed = await bench.bash(sandbox, "chmod 000 .")
    point = await bench.snapshot(sandbox, captured=closed.captured)

    assert {"in", "in/f"} <= (await bench.restorer.manifest(point.restore_point)).entries.keys()


@pytest.mark.parametrize(
    "replace",
    ["ln -s app workspace", "echo x > workspace", "ln -s nowhere workspace"],
    ids=["a link", "a file", "a link to nothing"],
)
async def test_a_workspace_that_was_replaced_is_told_and_can_be_put_back(bench: Bench, replace: str):
    """Nothing is saved meanwhile, the restore point stands, the calls go on; then all is saved."""
    sandbox = await bench.create()
    made = await bench.bash(sandbox, "echo kept > file")
    good = await bench.snapshot(sandbox, captured=made.captured)
    moved = await bench.bash(sandbox, f"cd ~ && mv workspace app && {replace} && echo new > app/new")
    failures = [
        await failing(bench, sandbox, turn=2, recapture=moved.uncaptured, full_scan=whole)
        for whole in (False, True)
    ]
    wrote = await bench.use(sandbox, "write_file", {"path": "a.txt", "content": "x"})
    found = await bench.use(sandbox, "grep", {"pattern": "kept"})
    newest = await bench.points.newest(
        TakeSnapshot(build_id=bench.build_id, project="", sandbox=sandbox, turn=2, head=1)
    )
    back = await bench.bash(sandbox, "rm ~/workspace && mv ~/app ~/workspace")
    saved = await bench.snapshot(sandbox, captured=back.captured, turn=3)
    whole = await bench.restorer.manifest(saved.restore_point)

    assert moved.uncaptured
    assert "not saved yet: /home/user/workspace is a" in moved.preview
    assert [FailureType.WORKSPACE_REPLACED] * 2 == [each.type for each in failures]
    assert all(each.non_retryable and "mv FOLDER /home/user/workspace" in each.message for each in failures)
    assert ([True, False], good) == ([wrote.is_error, back.is_error], newest)
    assert "kept" not in found.preview
    assert (False, {".", "file", "new"}) == (back.uncaptured, set(whole.entries))


async def test_a_workspace_that_was_deleted_is_an_empty_one(bench: Bench):
    """What the model deletes is gone from the next restore point; the one before it still has it."""
    sandbox = await bench.create()
    made = await bench.bash(sandbox, "echo x > file")
    first = await bench.snapshot(sandbox, captured=made.captured)
    gone = await bench.bash(sandbox, "cd ~ && rm -r workspace")
    second = await bench.snapshot(sandbox, captured=gone.captured, turn=2)
    listed = await bench.bash(sandbox, "pwd; ls")

    assert [1, 0] == [first.files, second.files]
    assert "/home/user/workspace" == listed.preview.strip()


async def test_a_file_that_is_written_all_the_while_is_said_to_be_torn(bench: Bench):
    """What nobody could hold still is saved as it was read; model and manifest say that it may be torn."""
    sandbox = await bench.create()
    await bench.bash(sandbox, "head -c 20000000 /dev/urandom > log")
    await run(bench, sandbox, GROWING)
    outcome = await bench.bash(sandbox, "echo done")
    await run(bench, sandbox, "pkill -f 'echo line'")
    point = await bench.snapshot(sandbox, captured=outcome.captured)
    whole = await bench.restorer.manifest(point.restore_point)
    again = await bench.create(generation=2, restore_point=point.restore_point)

    assert "perhaps not whole: log]" in outcome.preview
    assert whole.entries["log"].torn
    assert str(whole.entries["log"].size) == (await run(bench, again, "stat -c %s ~/workspace/log")).strip()


async def test_limits_of_the_settings_hold(bench: Bench):
    """What is beyond them is left out, and named to the model and in the manifest."""
    small = Captures(limits={"entries": 30, "changed_bytes": 10_000, "file_bytes": 4_000})
    bench = parts_of(bench, bench.objects, small)
    sandbox = await bench.create()
    command = (
        "head -c 5000 /dev/urandom > big; for n in 1 2 3 4; do head -c 3000 /dev/urandom > f$n; done; "
        "mkdir -p node_modules; touch node_modules/$(seq -s ' node_modules/' 40)"
    )
    outcome = await bench.bash(sandbox, command)
    point = await bench.snapshot(sandbox, captured=outcome.captured)

    assert {"big", "node_modules"} < set(point.omitted)
    assert 3 == len(point.omitted)
    assert all(name in outcome.preview for name in point.omitted)


async def test_whole_snapshots_pack_all_files_each(bench: Bench):
    """Each restores from its own packs alone; without a change there is none."""
    bench = parts_of(bench, bench.objects, Captures(whole=True))
    sandbox = await bench.create()
    points: list[RestorePoint] = []
    for turn in (1, 2):
        outcome = await bench.bash(sandbox, f"head -c 50000 /dev/urandom > f{turn}")
        points.append(await bench.snapshot(sandbox, captured=outcome.captured, turn=turn))
    same = await bench.snapshot(sandbox, turn=3)
    first, second = [await bench.restorer.manifest(point.restore_point) for point in points]

    assert points[-1] == same
    assert set() == first.packs & second.packs
    assert (1, 1) == tuple([len(await bench.points.chain(point.restore_point)) for point in points])
    assert second.entries["f1"].pack == second.entries["f2"].pack


@pytest.mark.parametrize("damage", ["pack", "no pack", "manifest"])
async def test_a_damaged_restore_point_is_refused_with_a_word_and_older_ones_stand(bench: Bench, damage: str):
    """Nothing of it reaches a workspace, nothing is retried; the one before it still restores."""
    sandbox = await bench.create()
    await bench.bash(sandbox, "echo good > good")
    good = await bench.snapshot(sandbox)
    outcome = await bench.bash(sandbox, "echo bad > bad")
    point = await bench.snapshot(sandbox, captured=outcome.captured, turn=2)
    bad = (await bench.restorer.manifest(point.restore_point)).entries["bad"]
    key = point.key if damage == "manifest" else pack_key(str(bad.pack))
    client, place = bench.objects._client, {"Bucket": bench.objects._bucket, "Key": key}
    if damage == "no pack":
        await client.delete_object(**place)  # pyright: ignore[reportAttributeAccessIssue]
    else:
        body = await bench.objects.get(key, limit=10**6)
        await client.put_object(**place, Body=body.replace(b'"mode":420', b'"mode":511') + b"\n")
    fresh = parts_of(bench, bench.objects)
    other = await bench.create(role="check")
    with pytest.raises(ApplicationError) as caught:
        await fresh.restorer.restore(other, point.restore_point, source_only=False)
    left = await run(bench, other, "ls ~/workspace")
    await fresh.restorer.restore(other, good.restore_point, source_only=False)

    assert (FailureType.INVALID_RESTORE_POINT, True) == (caught.value.type, caught.value.non_retryable)
    assert f"Restore point {point.restore_point} cannot be restored" in caught.value.message
    assert ("", "good\n") == (left, await run(bench, other, "ls ~/workspace"))


async def test_an_unreachable_bucket_is_waited_for_and_told_after_a_while(bench: Bench, settings: Settings):
    """Tried again and again; after a minute a failure of its own kind says what waits. Nothing is lost."""
    sandbox = await bench.create()
    await bench.bash(sandbox, "echo x > file")
    good = await bench.snapshot(sandbox)
    outcome = await bench.bash(sandbox, "echo y > file")
    async with bucket(settings, aws_endpoint_url_s3="http://127.0.0.1:9") as away:
        apart = parts_of(bench, away)
        soon = await failing(apart, sandbox, captured=outcome.captured, turn=2)
        later = await after_a_while(apart, sandbox)
    newest = await bench.points.newest(
        TakeSnapshot(build_id=bench.build_id, project="", sandbox=sandbox, turn=2, head=1)
    )
    saved = await bench.snapshot(sandbox, turn=2)

    assert (FailureType.RETRYABLE, False) == (soon.type, soon.non_retryable)
    assert (FailureType.UNSAVED, True) == (later.type, later.non_retryable)
    assert "The files wait in the sandbox" in later.message
    assert good == newest
    assert saved.restore_point > good.restore_point


async def test_an_unreachable_bucket_is_told_where_files_are_read_back(bench: Bench, settings: Settings):
    """After a minute the word says that the files are safe; it is filled once they are there."""
    sandbox = await bench.create()
    await bench.bash(sandbox, "echo x > file")
    point = (await bench.snapshot(sandbox)).restore_point
    environment, now = ActivityEnvironment(), datetime.now(UTC)
    environment.info = replace(environment.info, scheduled_time=now - TOLD_AFTER, started_time=now)
    request = CreateSandbox(build_id=bench.build_id, generation=2, restore_point=point, tell_outage=True)
    async with bucket(settings, aws_endpoint_url_s3="http://127.0.0.1:9") as away:
        time, restorer = SandboxTime(bench.engine, settings), parts_of(bench, away).restorer
        apart = Sandboxes(bench.workspace, bench.rows, restorer, time=time, settings=settings)
        with pytest.raises(ApplicationError) as caught:
            await environment.run(apart.create_sandbox, request)
    begun = next(row for row in await bench.rows.of_build(bench.build_id) if row.generation == 2)
    restored = await bench.create(2, restore_point=point)

    assert (FailureType.UNRESTORED, True) == (caught.value.type, caught.value.non_retryable)
    assert "The files are safe" in caught.value.message
    assert begun.sandbox_id == restored.sandbox_id
    assert "x" == (await bench.bash(restored, "cat file")).preview.strip()


@pytest.mark.parametrize("size", [10, 200_000])
async def test_a_bucket_that_refuses_is_asked_each_minute_and_told(
    bench: Bench, settings: Settings, size: int
):
    """A key without permission is somebody's to mend: the word says so, and names no key."""
    sandbox = await bench.create()
    outcome = await bench.bash(sandbox, f"head -c {size} /dev/urandom > file")
    async with bucket(settings, aws_secret_access_key="wrong") as closed:
        apart = parts_of(bench, closed)
        soon = await failing(apart, sandbox, captured=outcome.captured)
        later = await after_a_while(apart, sandbox)
    saved = await bench.snapshot(sandbox)

    assert timedelta(minutes=1) == soon.next_retry_delay
    assert FailureType.UNSAVED == later.type
    assert "refuses our key or its permissions" in later.message
    assert "wrong" not in later.message
    assert 1 == saved.files


async def test_an_attempt_that_outlived_its_retry_commits_nothing(bench: Bench):
    """It may hold older files than the retry saved, and would be taken for the newest."""
    sandbox = await bench.create()
    await bench.bash(sandbox, "echo old > file")
    held, go_on = asyncio.Event(), asyncio.Event()

    class Slow(Snapshots):
        async def _publish(self, *arguments):
            held.set()
            await go_on.wait()
            return await super()._publish(*arguments)

    slow = Slow(
        bench.workspace,
        bench.objects,
        bench.points,
        bench.restorer,
        stored=bench.stored,
        captures=Captures(),
        local_sandbox=True,
    )
    outlived = asyncio.create_task(replace(bench, snapshots=slow).snapshot(sandbox))
    await held.wait()
    await bench.client.write(sandbox.sandbox_id, f"{sandbox.workspace}/file", b"new")
    newer = await bench.snapshot(sandbox, full_scan=True)
    go_on.set()
    with pytest.raises(ApplicationError) as caught:
        await outlived
    newest = await bench.snapshot(sandbox, turn=2)
    again = await bench.create(generation=2, restore_point=newest.restore_point)

    assert (FailureType.RETRYABLE, newer) == (caught.value.type, newest)
    assert "new" == await run(bench, again, "cat ~/workspace/file")
