"""What the bucket lost of a build whose sandbox has every file: saved again whole, and nobody is stopped."""

from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import delete
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.captures import Captures
from activities.snapshots import Snapshots
from activities.stored_objects import pack_key
from activities.tables import restore_points
from tests.contract.conftest import Bench, rewinds_of
from tests.contract.test_bad_files import parts_of, run
from workflows.branches import FindRestorePoint
from workflows.errors import FailureType
from workflows.files import RestorePoint, SandboxRef, TakeSnapshot

LISTED = "cd ~/workspace && find . -type f | sort | xargs sha256sum"


def another(bench: Bench) -> Bench:
    """Another worker, which has read no manifest."""
    return parts_of(bench, bench.objects)


async def spoil(bench: Bench, key: str) -> None:
    """Change an object without a word."""
    client, place = bench.objects._client, {"Bucket": bench.objects._bucket, "Key": key}
    await client.put_object(**place, Body=b"spoilt")


async def saved(bench: Bench, sandbox: SandboxRef, turn: int) -> RestorePoint:
    """Change a file and save it."""
    outcome = await bench.bash(sandbox, f"head -c 3000 /dev/urandom > f{turn}")
    return await bench.snapshot(sandbox, captured=outcome.captured, turn=turn)


async def restores_to(bench: Bench, sandbox: SandboxRef, point: RestorePoint) -> bool:
    """Whether another worker can restore a point, and gets the files of this sandbox."""
    other = await bench.create(role="check")
    await another(bench).restorer.restore(other, point.restore_point, source_only=False)
    return await run(bench, sandbox, LISTED) == await run(bench, other, LISTED)


async def _newest_spoilt(bench: Bench, points: list[RestorePoint]) -> None:
    await spoil(bench, points[-1].key)


async def _oldest_spoilt(bench: Bench, points: list[RestorePoint]) -> None:
    await spoil(bench, points[0].key)


async def _newest_and_a_pack_gone(bench: Bench, points: list[RestorePoint]) -> None:
    packs = (await bench.restorer.manifest(points[-1].restore_point)).packs
    for key in (points[-1].key, pack_key(min(packs))):
        await bench.objects.delete(key)


async def _row_gone(bench: Bench, points: list[RestorePoint]) -> None:
    async with bench.engine.begin() as connection:
        await connection.execute(delete(restore_points).filter_by(id=points[0].restore_point))


@pytest.mark.parametrize("damage", [_newest_spoilt, _oldest_spoilt, _newest_and_a_pack_gone, _row_gone])
async def test_a_change_to_what_is_damaged_is_saved_whole(
    bench: Bench, damage: Callable[[Bench, list[RestorePoint]], Awaitable[None]]
):
    """It builds on nothing, holds every file, and the next ones are changes to it."""
    sandbox = await bench.create()
    await damage(bench, [await saved(bench, sandbox, turn) for turn in (1, 2)])
    point = await saved(another(bench), sandbox, 3)
    alone = await bench.points.chain(point.restore_point)
    later = await saved(another(bench), sandbox, 4)

    assert ["full"] == [link.kind for link in alone]
    assert ["full", "delta"] == [link.kind for link in await bench.points.chain(later.restore_point)]
    assert await restores_to(bench, sandbox, later)


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("turns", [1, 2])
async def test_a_save_of_everything_mends_what_is_damaged_though_nothing_changed(
    bench: Bench, turns: int, *, told: bool
):
    """Before a sleep and before a proof, which restore what was saved; without damage none is made."""
    sandbox = await bench.create()
    points = [await saved(bench, sandbox, turn) for turn in range(1, turns + 1)]
    same = await another(bench).snapshot(sandbox, turn=3, full_scan=True) if told else points[-1]
    await spoil(bench, points[-1].key)
    bench = parts_of(bench, bench.objects, None if told else Captures())
    mended = await another(bench).snapshot(sandbox, turn=3, full_scan=True)
    again = await another(bench).snapshot(sandbox, turn=3, full_scan=True)

    assert (points[-1], mended) == (same, again)
    assert await restores_to(bench, sandbox, mended)


async def test_a_mend_that_is_cut_off_is_made_by_its_retry(bench: Bench):
    """Also where its restore point was committed and nobody heard of it: there is one."""
    sandbox = await bench.create()
    await spoil(bench, (await saved(bench, sandbox, 1)).key)
    outcome = await bench.bash(sandbox, "echo x > file")

    class Dying(Snapshots):
        async def _commit(self, *arguments):
            await super()._commit(*arguments)
            raise ConnectionResetError

    dying = another(bench)
    dying.snapshots.__class__ = Dying
    with pytest.raises(Exception, match="ConnectionResetError"):
        await dying.snapshot(sandbox, captured=outcome.captured, turn=2)
    newest = (await bench.points.last(_asked(bench, sandbox))).id
    point = await another(bench).snapshot(sandbox, captured=outcome.captured, turn=2)

    assert newest == point.restore_point
    assert {".", "f1", "file"} == set((await another(bench).restorer.manifest(newest)).entries)


async def test_a_build_is_not_taken_back_to_what_is_damaged(bench: Bench):
    """It is refused with a word while the build still stands on what it has."""
    sandbox = await bench.create()
    await bench.bash(sandbox, "echo one > file")
    point = await saved(bench, sandbox, 1)
    await spoil(bench, point.key)
    other = another(bench)

    with pytest.raises(ApplicationError, match="cannot be restored") as caught:
        await ActivityEnvironment().run(
            rewinds_of(other).find_restore_point, FindRestorePoint(build_id=bench.build_id, turn=1)
        )

    assert caught.value.type == FailureType.INVALID_RESTORE_POINT
    assert await bench.client.is_running(sandbox.sandbox_id)


def _asked(bench: Bench, sandbox: SandboxRef) -> TakeSnapshot:
    return TakeSnapshot(build_id=bench.build_id, project="", sandbox=sandbox, turn=2, head=1)
