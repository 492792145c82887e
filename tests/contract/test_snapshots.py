"""The rules of `activities/snapshots.py` and `activities/restore.py`, against the real servers."""

import asyncio
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import func, select
from temporalio.exceptions import ApplicationError

from activities.branches import UNDONE_RESULT, Branches, hold_point
from activities.captures import Captures
from activities.manifests import SLICES, pack_manifest, unpack_manifest
from activities.restore import Restorer
from activities.snapshots import Snapshots
from activities.stored_objects import pack_key
from activities.tables import restore_point_packs, restore_points
from tests.contract.conftest import Bench, tools_of
from workflows.errors import FailureType
from workflows.files import RestorePoint, SandboxRef

TREE = """
set -e
mkdir -p src/deep empty "na me" node_modules/left
printf 'one\\n' > src/one.py
printf 'two' > 'na me/two.txt'
ln src/one.py src/deep/same.py
ln -s ../one.py src/deep/link
head -c 300000 /dev/urandom > blob.bin
printf 'cached' > node_modules/left/index.js
printf x > "$(printf 'caf\\351')"
printf '#!/bin/sh\\n' > run.sh && chmod 755 run.sh
"""
LISTING = (
    "find . -mindepth 1 -printf '%P %y %m %s %n %l %T@\\n' | LC_ALL=C sort; "
    "find . -type f -exec sha256sum {} + | LC_ALL=C sort"
)


async def listing(bench: Bench, sandbox: SandboxRef) -> str:
    line = f"cd {sandbox.workspace} && {{ {LISTING}; }}"
    return (await bench.client.run(sandbox.sandbox_id, line, within=timedelta(seconds=30))).stdout


async def rows_of(bench: Bench) -> int:
    query = select(func.count()).where(restore_points.c.build_id == bench.build_id)
    async with bench.engine.connect() as connection:
        return (await connection.execute(query)).scalar_one()


async def packs_of(bench: Bench, point: RestorePoint) -> list[str]:
    table = restore_point_packs
    query = select(table.c.sha256).where(table.c.restore_point == point.restore_point)
    async with bench.engine.connect() as connection:
        return list((await connection.execute(query)).scalars())


def made_of(bench: Bench, *, kind: type[Snapshots] = Snapshots, local_sandbox: bool = True) -> Snapshots:
    return kind(
        bench.workspace,
        bench.objects,
        bench.points,
        bench.restorer,
        stored=bench.stored,
        captures=bench.captures,
        local_sandbox=local_sandbox,
    )


async def test_files_and_answers_of_a_restore_point_within_a_reply_are_of_one_moment(bench: Bench):
    """A call that ends after it was taken is in neither, whatever its result says."""
    sandbox = await bench.create()
    calls = [(f"toolu_{name}", "bash", {"command": f"echo {name} > {name}; ls"}) for name in ("a", "b")]
    head = await bench.reply(*calls)
    first = await bench.run(sandbox, head, "toolu_a", "bash")
    point = await bench.snapshot(sandbox, head=head, reason="call", captured=first.captured, unended=1)
    second = await bench.run(sandbox, head, "toolu_b", "bash")
    async with bench.engine.begin() as connection:
        held = await hold_point(connection, bench.build_id, 1)
    branch = await Branches(bench.engine, bench.transcript).at(held)
    restored = await bench.create(2, restore_point=held.id)

    answers = [json.loads(block)["content"] for block in branch.blocks]
    assert point.restore_point == held.id
    assert 0 < first.captured < second.captured
    assert "a" == answers[0].strip() == (await bench.bash(restored, "ls")).preview.strip()
    assert UNDONE_RESULT == answers[1]


def listening(bench: Bench, asked: list[str]) -> Bench:
    """The bench with a snapshot that notes what it asks of the sandbox."""

    class Listening(type(bench.workspace)):
        async def ask(self, sandbox, command, payload, **options):
            asked.append(command)
            return await super().ask(sandbox, command, payload, **options)

    workspace = Listening.__new__(Listening)
    workspace.__dict__ = bench.workspace.__dict__
    return replace(bench, snapshots=made_of(replace(bench, workspace=workspace)))


async def test_a_killed_sandbox_comes_back_whole_from_its_snapshot(bench: Bench):
    """Create, call, snapshot, kill, restore in a fresh sandbox: names, modes, times, links, bytes equal."""
    sandbox = await bench.create()
    outcome = await bench.bash(sandbox, TREE)
    first = await bench.snapshot(sandbox)
    await bench.bash(sandbox, "rm src/one.py; printf new > src/new.py; mv 'na me' renamed")
    second = await bench.snapshot(sandbox, parent=first.restore_point, turn=2)
    before = await listing(bench, sandbox)
    await bench.client.kill(sandbox.sandbox_id)

    again = await bench.create(generation=2, restore_point=second.restore_point)

    assert outcome.captured
    assert "renamed/two.txt" in before
    assert before == await listing(bench, again)
    assert sandbox.sandbox_id != again.sandbox_id


async def test_work_goes_on_in_a_restored_sandbox(bench: Bench):
    """A restored sandbox snapshots only what changes in it, and that can be restored again."""
    sandbox = await bench.create()
    await bench.bash(sandbox, TREE)
    first = await bench.snapshot(sandbox)
    again = await bench.create(generation=2, restore_point=first.restore_point)
    await bench.bash(again, "printf more > src/more.py; rm run.sh")

    second = await bench.snapshot(again, parent=first.restore_point, turn=2)
    third = await bench.create(generation=3, restore_point=second.restore_point)

    assert second.changed < first.changed
    assert second.bytes < 10_000 < first.bytes
    files = await listing(bench, third)
    assert "src/more.py" in files
    assert "run.sh" not in files


async def test_a_chain_of_many_deltas_is_restored(bench: Bench):
    """Forty snapshots, each on the one before, restore from the newest sixteen, none of which is full."""
    sandbox = await bench.create()
    point = None
    for turn in range(40):
        await bench.bash(sandbox, f"printf {turn} > f{turn}; printf {turn} > same; rm -f f{turn - 3}")
        point = await bench.snapshot(sandbox, turn=turn, parent=point.restore_point if point else None)
    before = await listing(bench, sandbox)
    assert point is not None

    again = await bench.create(generation=2, restore_point=point.restore_point)

    assert before == await listing(bench, again)
    assert ["delta"] * SLICES == [link.kind for link in await bench.points.chain(point.restore_point)]


async def test_caches_are_saved_and_left_out_of_a_proof(bench: Bench):
    """node_modules comes back to a build and not to the checks, which must find it undeclared."""
    sandbox = await bench.create()
    await bench.bash(sandbox, TREE)
    point = await bench.snapshot(sandbox)

    proof = await bench.create(
        generation=1, role="check", restore_point=point.restore_point, source_only=True
    )
    build = await bench.create(generation=2, restore_point=point.restore_point)

    assert "node_modules" not in await listing(bench, proof)
    assert "node_modules/left/index.js" in await listing(bench, build)


async def test_nothing_new_makes_no_restore_point(bench: Bench):
    """Without a change the newest restore point is given again."""
    sandbox = await bench.create()
    await bench.bash(sandbox, "echo x > file")
    first = await bench.snapshot(sandbox)
    await bench.bash(sandbox, "cat file")

    second = await bench.snapshot(sandbox, parent=first.restore_point, turn=2, full_scan=True)

    assert first.restore_point == second.restore_point
    assert await rows_of(bench) == 1


async def test_a_small_snapshot_after_a_call_asks_nothing_of_the_sandbox(bench: Bench):
    """What a call captured comes with its answer, and the next hears what was committed of it."""
    sandbox, asked = await bench.create(), list[str]()
    heard = listening(bench, asked)
    points = []
    for turn in (1, 2, 3):
        outcome = await bench.bash(sandbox, f"printf {turn} > f{turn}; cat f{turn}")
        points.append(await heard.snapshot(sandbox, turn=turn, captured=outcome.captured))
    await bench.bash(sandbox, "cat f1")
    same = await heard.snapshot(sandbox, turn=4, captured=outcome.captured)
    before = await listing(bench, sandbox)
    again = await bench.create(generation=2, restore_point=points[-1].restore_point)

    assert asked == []
    assert [1, 2, 3] == [point.files for point in points]
    assert same == points[-1]
    assert len(await bench.points.chain(points[-1].restore_point)) == 3
    assert before == await listing(bench, again)


async def test_a_worker_that_knows_only_of_older_captures_asks(bench: Bench):
    """Another worker ran the newest call: what this one remembers is not taken for all there is."""
    sandbox, asked = await bench.create(), list[str]()
    await bench.bash(sandbox, "printf old > old")
    other = replace(bench, captures=Captures())
    other = replace(other, tools=tools_of(other))
    outcome = await other.bash(sandbox, "printf new > new")

    point = await listening(bench, asked).snapshot(sandbox, captured=outcome.captured)

    assert asked == ["pending"]
    assert point.files == 2


async def test_what_is_too_large_to_come_along_is_uploaded(bench: Bench):
    """A pack above the limit is put by the sandbox itself."""
    sandbox, asked = await bench.create(), list[str]()
    outcome = await bench.bash(sandbox, "head -c 200000 /dev/urandom > big")

    point = await listening(bench, asked).snapshot(sandbox, captured=outcome.captured)
    before = await listing(bench, sandbox)
    again = await bench.create(generation=2, restore_point=point.restore_point)

    assert asked == ["upload"]
    assert before == await listing(bench, again)


async def test_a_pack_that_is_not_what_its_digest_says_is_refused(bench: Bench):
    """A sandbox that hands over other bytes under a digest commits nothing."""
    sandbox = await bench.create()
    outcome = await bench.bash(sandbox, "echo x > file")
    told = bench.captures.take(sandbox, least=0)
    assert told is not None
    told["captures"][0]["packs"][0]["content"] = "bm9uc2Vuc2U="
    bench.captures.keep(sandbox, number=outcome.captured, pending=told)

    with pytest.raises(ApplicationError, match="digest"):
        await bench.snapshot(sandbox, captured=outcome.captured)
    assert await rows_of(bench) == 0


async def test_an_empty_workspace_has_a_restore_point(bench: Bench):
    """The last snapshot always exists, also of a build that wrote nothing."""
    sandbox = await bench.create()

    point = await bench.snapshot(sandbox)
    again = await bench.create(generation=2, restore_point=point.restore_point)

    assert point.files == 0
    assert await listing(bench, again) == ""


async def test_a_full_scan_finds_what_no_call_captured(bench: Bench):
    """What a background process wrote after its call was captured is saved before a sleep."""
    sandbox = await bench.create()
    await bench.snapshot(sandbox)
    await bench.client.write(sandbox.sandbox_id, f"{sandbox.workspace}/late", b"late")

    point = await bench.snapshot(sandbox, full_scan=True, turn=2)

    assert point.files == 1


@pytest.mark.parametrize("step", ["_upload", "_publish"])
@pytest.mark.parametrize("after", [False, True])
async def test_a_snapshot_cut_off_anywhere_is_finished_by_its_retry(bench: Bench, step: str, *, after: bool):
    """Whatever await an attempt dies at, the retry leaves one row with all the files."""
    sandbox = await bench.create()
    await bench.bash(sandbox, TREE)

    class Dying(Snapshots):
        pass

    async def die(self, *arguments):
        if after:
            await getattr(Snapshots, step)(self, *arguments)
        raise asyncio.CancelledError

    setattr(Dying, step, die)
    dying = made_of(bench, kind=Dying)
    with pytest.raises(asyncio.CancelledError):
        await replace(bench, snapshots=dying).snapshot(sandbox)

    point = await bench.snapshot(sandbox)
    before = await listing(bench, sandbox)
    again = await bench.create(generation=2, restore_point=point.restore_point)

    assert await rows_of(bench) == 1
    assert before == await listing(bench, again)


async def test_a_superseded_sandbox_commits_nothing(bench: Bench):
    """A snapshot of a generation that was replaced meanwhile is a loss, and leaves no row."""
    sandbox = await bench.create()
    await bench.bash(sandbox, "echo x > file")
    await bench.rows.open(bench.build_id, role="build", generation=2)

    with pytest.raises(ApplicationError) as caught:
        await bench.snapshot(sandbox)

    assert caught.value.type == FailureType.SANDBOX_LOST
    assert caught.value.non_retryable
    assert await rows_of(bench) == 0


async def test_a_snapshot_of_a_dead_sandbox_is_a_loss(bench: Bench):
    """The caller restores from the last restore point; nothing is retried."""
    sandbox = await bench.create()
    await bench.client.kill(sandbox.sandbox_id)

    with pytest.raises(ApplicationError) as caught:
        await bench.snapshot(sandbox)

    assert caught.value.type == FailureType.SANDBOX_LOST


async def test_every_pack_of_a_restore_point_is_in_the_bucket_and_noted(bench: Bench):
    """A sweep that reads the rows cannot take a pack that a restore point needs."""
    sandbox = await bench.create()
    await bench.bash(sandbox, TREE)
    point = await bench.snapshot(sandbox)

    packs = await packs_of(bench, point)
    whole = await bench.restorer.manifest(point.restore_point)

    assert set(packs) == whole.packs
    assert all([await bench.objects.size(pack_key(pack)) for pack in packs])


async def test_packs_deleted_before_their_upload_are_made_again(bench: Bench):
    """The agent can reach the runner's packs; what it deleted is read again from the files."""
    sandbox = await bench.create()
    await bench.bash(sandbox, TREE)
    await bench.bash(sandbox, 'rm -rf "$HOME"/.nightshift/packs/*')
    before = await listing(bench, sandbox)

    point = await bench.snapshot(sandbox)
    again = await bench.create(generation=2, restore_point=point.restore_point)

    assert before == await listing(bench, again)


@pytest.mark.parametrize("deleted", ["captures", "captures .nightshift/packs", ""])
async def test_a_runner_whose_state_was_deleted_saves_all_the_same(bench: Bench, deleted: str):
    """Numbers that start again are not taken for captures that were committed before."""
    sandbox = await bench.create()
    await bench.bash(sandbox, TREE)
    first = await bench.snapshot(sandbox)
    remove = f"cd $HOME && rm -rf .nightshift/{deleted}"
    await bench.client.run(sandbox.sandbox_id, remove, within=timedelta(seconds=30))
    await bench.bash(sandbox, "printf later > later.txt")
    before = await listing(bench, sandbox)

    second = await bench.snapshot(sandbox, parent=first.restore_point, turn=2)
    third = await bench.snapshot(sandbox, parent=second.restore_point, turn=3, full_scan=True)
    again = await bench.create(generation=2, restore_point=second.restore_point)

    assert second.restore_point > first.restore_point
    assert second.restore_point == third.restore_point
    assert before == await listing(bench, again)


async def test_a_worker_that_remembers_an_older_capture_saves_the_newest(bench: Bench):
    """What another worker saved meanwhile is not taken back, as by a hint that nobody contradicted."""
    sandbox = await bench.create()
    await bench.bash(sandbox, "echo one > file")
    other = replace(bench, captures=Captures())
    other = replace(other, snapshots=made_of(other), tools=tools_of(other))
    await other.bash(sandbox, "echo two > file")
    newest = await other.snapshot(sandbox, full_scan=True)

    found = await bench.snapshot(sandbox, parent=newest.restore_point)

    assert newest.restore_point == found.restore_point
    assert 1 == await rows_of(bench)


def lying(bench: Bench, lie: Callable[[bytes], bytes]) -> Bench:
    """A sandbox whose manifests arrive otherwise than its files are, with the sum to match."""

    class Lying(type(bench.client)):
        async def read(self, sandbox_id, path):
            return pack_manifest(lie(unpack_manifest(await super().read(sandbox_id, path))))

    class Believing(type(bench.workspace)):
        async def ask(self, sandbox, command, payload, **options):
            answer = await super().ask(sandbox, command, payload, **options)
            if command == "pending" and answer["manifest"]:
                data = await self.client.read(sandbox.sandbox_id, answer["manifest"]["path"])
                answer["manifest"].pop("content")
                answer["manifest"]["sha256"] = hashlib.sha256(unpack_manifest(data)).hexdigest()
            return answer

    client = Lying.__new__(Lying)
    client.__dict__ = bench.client.__dict__
    workspace = Believing.__new__(Believing)
    workspace.__dict__ = {**bench.workspace.__dict__, "client": client}
    return replace(bench, snapshots=made_of(replace(bench, workspace=workspace, captures=Captures())))


async def test_a_manifest_that_names_a_foreign_pack_is_refused(bench: Bench):
    """A sandbox that names a pack it never uploaded could read another founder's files: it is refused."""
    sandbox = await bench.create()
    await bench.bash(sandbox, "echo x > file")

    def foreign(data: bytes) -> bytes:
        return data.replace(data.split(b'"pack":"')[1][:64], b"a" * 64)

    with pytest.raises(ApplicationError, match="never uploaded"):
        await lying(bench, foreign).snapshot(sandbox)
    assert await rows_of(bench) == 0


async def test_changes_to_nothing_are_refused(bench: Bench):
    """A first manifest that calls itself a change would be a restore point from which nothing comes back."""
    sandbox = await bench.create()
    await bench.bash(sandbox, "echo x > file")

    def changed(data: bytes) -> bytes:
        assert b'"kind":"full"' in data
        return data.replace(b'"kind":"full"', b'"kind":"delta","slice":0', 1)

    with pytest.raises(ApplicationError, match="no restore point that they were made to"):
        await lying(bench, changed).snapshot(sandbox)
    assert await rows_of(bench) == 0


async def test_a_bucket_out_of_the_sandboxes_reach_is_relayed(bench: Bench):
    """Where S3 is private and the sandbox elsewhere, the worker carries packs both ways."""
    sandbox = await bench.create()
    await bench.bash(sandbox, TREE)
    restorer = Restorer(bench.workspace, bench.objects, bench.points, local_sandbox=False)
    snapshots = made_of(replace(bench, restorer=restorer), local_sandbox=False)
    point = await replace(bench, snapshots=snapshots).snapshot(sandbox)
    before = await listing(bench, sandbox)
    other = await bench.create(role="check")

    await restorer.restore(other, point.restore_point, source_only=False)

    assert before == await listing(bench, other)


async def test_a_restore_point_that_is_missing_fails_at_once(bench: Bench):
    """Nothing can mend it: the failure is not retried and names the restore point."""
    with pytest.raises(ApplicationError, match="999999999") as caught:
        await bench.create(restore_point=999_999_999)

    assert caught.value.non_retryable
