"""Retention: what is kept can be restored, byte for byte; what is not goes, from the rows and the bucket."""

import asyncio
import os
import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, insert, select, update
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.branches import hold_point
from activities.captures import Captures
from activities.chains import whole_points
from activities.objects import ObjectMissing
from activities.restore import Restorer
from activities.retention import NEWEST, Retention
from activities.runner.dispatch import answer
from activities.snapshots import Snapshots
from activities.stored_objects import pack_key
from activities.tables import builds, projects, restore_point_packs, restore_points, stored_objects
from activities.workspace import Workspace
from tests.contract.conftest import Bench, rewinds_of
from tests.runner_box import tree
from workflows.branches import FindRestorePoint
from workflows.files import RestorePoint, SandboxRef, TakeSnapshot

NOW = timedelta(0)
NAMES = ("a", "b", "deep/c", "deep/d")


class Homes:
    """The files of sandboxes that are directories of this machine."""

    async def write(self, sandbox_id: str, path: str, data: bytes) -> None:
        assert sandbox_id
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(Path(path).write_bytes, data)

    async def read(self, sandbox_id: str, path: str) -> bytes:
        assert sandbox_id
        return await asyncio.to_thread(Path(path).read_bytes)


class Local(Workspace):
    """The runner itself, in this process."""

    def __init__(self) -> None:
        self.client = Homes()

    async def ask(self, sandbox: SandboxRef, command: str, payload: Any, **_limits: Any) -> dict[str, Any]:
        places = {"home": sandbox.home, "workspace": sandbox.workspace, "generation": sandbox.generation}
        found = await asyncio.to_thread(answer, command, {**places, **payload})
        assert "error" not in found, found
        return found


@dataclass
class Build:
    """A build of the world, and the sandbox that it works in."""

    id: str
    number: int
    sandbox: SandboxRef
    turn: int = 0
    point: int | None = None
    ended: bool = False
    asked: list[int] = field(default_factory=list)
    """Where it was asked to go back to, and is still to go."""


@dataclass
class World:
    """One project's builds over real rows and a real bucket, and what each restore point must bring back."""

    bench: Bench
    root: Path
    workspace: Local = field(default_factory=Local)
    builds: list[Build] = field(default_factory=list)
    trees: dict[int, dict[bytes, tuple[Any, ...]]] = field(default_factory=dict)
    project: str = field(default_factory=lambda: f"project-{uuid.uuid4().hex[:12]}")
    homes: int = 0

    def __post_init__(self) -> None:
        self.snapshots = self.taking()
        self.retention = Retention(self.bench.engine, self.bench.stored)

    def restorer(self) -> Restorer:
        """One that remembers nothing."""
        return Restorer(self.workspace, self.bench.objects, self.bench.points, local_sandbox=True)

    def taking(self, kind: type[Snapshots] = Snapshots) -> Snapshots:
        bench = self.bench
        return kind(
            self.workspace, bench.objects, bench.points, self.restorer(), stored=bench.stored,
            captures=Captures(), local_sandbox=True,
        )  # fmt: skip

    def home(self, generation: int) -> SandboxRef:
        self.homes += 1
        home = self.root / str(self.homes)
        (home / "workspace").mkdir(parents=True)
        return SandboxRef(
            sandbox_id=f"{self.project}-{self.homes}",
            generation=generation,
            home=str(home),
            workspace=str(home / "workspace"),
        )

    async def begin(self, point: int | None = None, origin: Build | None = None) -> Build:
        """Start a build: the first, a further one, or a fork that holds its point as `Forks` does."""
        build = Build(f"build-{uuid.uuid4().hex[:12]}", len(self.builds) + 1, self.home(1))
        row = {"id": build.id, "workflow_id": build.id, "project": self.project, "user_id": "local"}
        row |= {"number": build.number, "model": "m", "head": 1, "restore_point": point}
        async with self.bench.engine.begin() as connection:
            mine = {"id": self.project, "user_id": "local"}
            if not self.builds:
                await connection.execute(insert(projects).values(mine))
            if origin is not None:
                turn = select(restore_points.c.turn).filter_by(id=point).scalar_subquery()
                found = (await connection.execute(select(turn))).scalar_one()
                await hold_point(connection, origin.id, found, id_=point)
            await connection.execute(insert(builds).values(row))
        self.builds.append(build)
        await self.work_in(build, point)
        return build

    async def work_in(self, build: Build, point: int | None) -> None:
        """Give a build its next sandbox, restored."""
        if build.sandbox.generation > 1 or build.point is not None:
            build.sandbox = self.home(build.sandbox.generation + 1)
        generation = build.sandbox.generation
        row = await self.bench.rows.open(build.id, role="build", generation=generation)
        await self.bench.rows.note(row, state="live", sandbox_id=build.sandbox.sandbox_id)
        build.point = point
        if point is not None:
            await self.restorer().restore(build.sandbox, point, source_only=False)
            assert self.trees[point] == tree(Path(build.sandbox.workspace))

    async def snapshot(self, build: Build, *, phase: str = "", by: Snapshots | None = None) -> RestorePoint:
        build.turn += 1
        request = TakeSnapshot(
            build_id=build.id,
            project=self.project,
            sandbox=build.sandbox,
            turn=build.turn,
            head=1,
            parent=build.point,
            full_scan=True,
            phase=phase,
        )
        found = await ActivityEnvironment().run((by or self.snapshots).take_snapshot, request)
        build.point = found.restore_point
        self.trees[found.restore_point] = tree(Path(build.sandbox.workspace))
        return found

    async def end(self, build: Build) -> None:
        build.ended = True
        async with self.bench.engine.begin() as connection:
            row = update(builds).filter_by(id=build.id)
            await connection.execute(row.values(restore_point=build.point, finished_at=func.now()))

    async def ask(self, build: Build, point: int) -> None:
        """Accept a rewind, which waits until what runs has ended."""
        rewinds = rewinds_of(self.bench)
        async with self.bench.engine.connect() as connection:
            turn = (await connection.execute(select(restore_points.c.turn).filter_by(id=point))).scalar_one()
        request = FindRestorePoint(build_id=build.id, turn=turn)
        found = await ActivityEnvironment().run(rewinds.find_restore_point, request)
        build.asked.append(found.restore_point)

    async def go_back(self, build: Build) -> None:
        """Do all that was asked, the first one first."""
        while build.asked:
            await self.work_in(build, build.asked[0])
            del build.asked[0]

    async def kept(self, build: Build | None = None) -> list[int]:
        """The restore points that one may go to, oldest first."""
        mine = restore_points.c.project == self.project
        if build is not None:
            mine = restore_points.c.build_id == build.id
        async with self.bench.engine.connect() as connection:
            return sorted((await connection.execute(whole_points(mine))).scalars())

    async def rows(self) -> list[int]:
        """These, and those that their chains go through."""
        query = select(restore_points.c.id).filter_by(project=self.project).order_by(restore_points.c.id)
        async with self.bench.engine.connect() as connection:
            return list((await connection.execute(query)).scalars())

    async def prune(self) -> None:
        while await self.retention.prune():
            pass

    async def noted(self) -> set[str]:
        """The keys of this project's objects, as the rows tell them."""
        manifests = stored_objects.c.key.startswith(f"projects/{self.project}/")
        async with self.bench.engine.connect() as connection:
            return set((await connection.execute(select(stored_objects.c.key).where(manifests))).scalars())

    async def named(self) -> tuple[set[str], set[str]]:
        """The keys of manifests and of packs that restore points name."""
        mine = restore_points.c.project == self.project
        packs = select(restore_point_packs.c.sha256).join(
            restore_points, restore_points.c.id == restore_point_packs.c.restore_point
        )
        async with self.bench.engine.connect() as connection:
            keys = (await connection.execute(select(restore_points.c.key).where(mine))).scalars()
            names = (await connection.execute(packs.where(mine))).scalars()
            return set(keys), {pack_key(name) for name in names}

    async def check(self) -> None:
        """Every restore point that one may go to comes back as it was taken."""
        for point in await self.kept():
            sandbox = self.home(1)
            await self.restorer().restore(sandbox, point, source_only=False)
            assert self.trees[point] == tree(Path(sandbox.workspace))


@pytest.fixture
def world(bench: Bench, tmp_path: Path) -> World:
    return World(bench, tmp_path)


def write(build: Build, name: str, content: bytes) -> None:
    path = Path(build.sandbox.workspace) / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


def fresh(size: int = 200) -> bytes:
    return os.urandom(size)


STEP = st.tuples(
    st.sampled_from(
        ["work"] * 6
        + ["rewrite"] * 6
        + [
            "remove",
            "lose",
            "fork",
            "fork",
            "ask",
            "ask",
            "rewind",
            "further",
            "end",
            "prune",
            "sweep",
            "sweep",
        ]
    ),
    st.integers(0, 2**16),
)
MOST_BUILDS = 5
SHARED = [b"shared" * 50_000, b"common" * 10]
"""Contents that builds write alike, so that packs are the same ones."""


async def step(world: World, kind: str, luck: int) -> None:
    """Do something to the files of a world, or to a build of it."""
    chance = random.Random(luck)
    running = [build for build in world.builds if not build.ended]
    build = chance.choice(running or world.builds)
    if kind in ("prune", "sweep"):
        await world.prune()
        await world.bench.stored.sweep(min_age=NOW if kind == "sweep" else timedelta(days=1))
    elif kind in ("work", "rewrite", "remove") and running:
        await work(world, build, kind, chance)
    elif points := await world.kept(build):
        await branch(world, build, kind, chance.choice(points))


async def work(world: World, build: Build, kind: str, chance: random.Random) -> None:
    name = chance.choice(NAMES)
    match kind:
        case "remove":
            (Path(build.sandbox.workspace) / name).unlink(missing_ok=True)
        case "rewrite":  # a pack's large files, so that it is mostly dead
            large = [other for other in NAMES if other != name]
            for names in ([name, *large], large):
                for other in names:
                    write(build, other, fresh(200 if other == name else 90_000))
                await world.snapshot(build)
            return
        case _:
            write(build, name, chance.choice([*SHARED, fresh(), fresh(90_000)]))
    await world.snapshot(build, phase=chance.choice(["", "One", "Two"]))


async def branch(world: World, build: Build, kind: str, point: int) -> None:
    room = len(world.builds) < MOST_BUILDS
    match kind:
        case "fork" if room:
            await world.begin(point, build)
        case "further" if room:
            await world.begin(max(await world.kept()))
        case "lose" if not build.ended:
            await world.work_in(build, build.point)
        case "ask" | "rewind" if not build.ended:
            await world.ask(build, point)
            if kind == "rewind":
                await world.go_back(build)
        case "end":
            await world.end(build)
        case _:
            pass


async def play(world: World, steps: list[tuple[str, int]]) -> None:
    """Play a sequence, then hold what must hold of whatever came of it."""
    await world.begin()
    for kind, luck in steps:
        await step(world, kind, luck)
    before = {build.id: await world.kept(build) for build in world.builds}
    await world.prune()
    await world.bench.stored.sweep(min_age=NOW)
    for build in world.builds:
        kept = await world.kept(build)
        assert before[build.id][-NEWEST:] == kept[-NEWEST:]
        if not build.ended and build.point is not None:
            assert {build.point, *build.asked} <= set(await world.kept())
            await world.go_back(build)
    manifests, packs = await world.named()
    assert manifests == await world.noted()
    for key in (*manifests, *packs):
        assert await world.bench.objects.size(key) is not None
    await world.check()


def examples(number: int) -> Any:
    return settings(
        max_examples=number,
        deadline=None,
        derandomize=True,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture
def worlds(bench: Bench, tmp_path: Path) -> Iterator[World]:
    """A new world each time."""
    return (World(bench, tmp_path / str(number)) for number in range(10_000))


@examples(4)
@given(st.lists(STEP, min_size=12, max_size=24))
async def test_whatever_is_kept_comes_back(worlds, steps):
    """Builds, forks, further builds, rewinds, losses, prunes, sweeps in any order: nothing kept is harmed."""
    await play(next(worlds), steps)


@pytest.mark.long
@pytest.mark.timeout(3_600)
@examples(150)
@given(st.lists(STEP, min_size=20, max_size=60))
async def test_whatever_is_kept_comes_back_for_long(worlds, steps):
    """The same, many times and longer."""
    await play(next(worlds), steps)


async def test_the_newest_the_phases_and_their_chains_are_kept(world: World):
    """Five of each build, the newest of each phase, the rows that their chains go through; nothing else."""
    build = await world.begin()
    points = []
    for turn in range(1, 41):
        write(build, "a", fresh())
        points.append((await world.snapshot(build, phase="One" if turn < 19 else "Two")).restore_point)
    await world.prune()

    assert [points[17], *points[35:40]] == await world.kept()
    assert points[2:18] + points[20:40] == await world.rows()
    await world.check()


async def test_a_second_wish_to_go_back_leaves_the_point_of_the_first(world: World):
    """The first is still carried out, however long it waits; one that is given up harms nothing."""
    build = await world.begin()
    points = []
    for _ in range(NEWEST + 20):
        write(build, "a", fresh())
        points.append((await world.snapshot(build)).restore_point)
    await world.ask(build, points[0])
    await world.ask(build, points[1])
    await world.prune()
    kept = await world.kept()
    await world.go_back(build)
    await world.ask(build, points[-1])
    await world.prune()
    await world.work_in(build, build.point)

    assert [*points[:2], *points[-NEWEST:]] == kept
    assert points[1] == build.point


async def test_a_pack_goes_a_day_after_its_last_restore_point(world: World):
    """Not before, as someone may be reading it; then from the bucket too, and nothing that is named."""
    build = await world.begin()
    for _ in range(NEWEST + 16):
        write(build, "a", fresh(90_000))
        await world.snapshot(build)
    manifests, packs = await world.named()
    await world.prune()
    at_once = await world.bench.stored.sweep()
    left, used = await world.named()
    await world.bench.stored.sweep(min_age=NOW)

    assert 0 == at_once
    assert left < manifests
    assert used < packs
    for key in (manifests - left) | (packs - used):
        with pytest.raises(ObjectMissing):
            await world.bench.objects.get(key, limit=1)
    await world.check()


def live_bytes(build: Build) -> int:
    return sum(path.stat().st_size for path in Path(build.sandbox.workspace).rglob("*") if path.is_file())


async def stored_bytes(world: World) -> int:
    sizes = [await world.bench.objects.size(key) for key in (await world.named())[1]]
    return sum(size or 0 for size in sizes)


async def rewrite(world: World, build: Build, turn: int) -> None:
    """Write nine files of a pack again and again, and a tenth once."""
    for name in (*"abcdefghi", f"once-{turn}"):
        write(build, name, fresh(20_000))
    await world.snapshot(build)


async def rest(world: World, build: Build) -> None:
    """Take as many snapshots of small changes as let all before them be pruned, and prune and sweep."""
    for _ in range(NEWEST + 16):
        write(build, "small", fresh(10))
        await world.snapshot(build)
    await world.prune()
    await world.bench.stored.sweep(min_age=NOW)


async def test_packs_that_are_mostly_dead_do_not_pile_up(world: World):
    """After many rewrites of nine tenths of each pack, less than twice the live bytes are kept."""
    build = await world.begin()
    for turn in range(12):
        await rewrite(world, build, turn)
    await rest(world, build)

    assert await stored_bytes(world) < 2 * live_bytes(build)
    await world.check()


async def test_a_carry_that_was_not_committed_harms_nothing(world: World):
    """Its upload failed, and its sandbox was lost, or not: the next attempt carries or commits it."""
    build = await world.begin()
    for turn in range(3):
        await rewrite(world, build, turn)

    class Failing(Snapshots):
        async def _upload(self, *arguments):
            raise ConnectionError(arguments)

    _, before = await world.named()
    with pytest.raises(ApplicationError, match="ConnectionError"):
        await world.snapshot(build, by=world.taking(Failing))
    await world.work_in(build, build.point)
    with pytest.raises(ApplicationError, match="ConnectionError"):
        await world.snapshot(build, by=world.taking(Failing))
    carried = await world.snapshot(build)
    same = await world.snapshot(build)
    _, after = await world.named()

    assert before < after
    assert 0 < carried.bytes < 100_000
    assert carried == same
    await rest(world, build)
    assert await stored_bytes(world) < 2 * live_bytes(build)
    await world.check()


async def test_a_sweep_never_takes_what_an_upload_relies_on(world: World):
    """A content whose pack is long unnamed comes back: it is there when it is committed, swept or not."""
    build, content = await world.begin(), fresh(90_000)
    write(build, "a", content)
    await world.snapshot(build)
    for _ in range(NEWEST + 16):
        write(build, "a", fresh())
        await world.snapshot(build)
    await world.prune()

    class Swept(Snapshots):
        """Between a look at the bucket and the commit, all that is old enough is swept."""

        async def _publish(self, *arguments):
            await world.bench.stored.sweep(min_age=timedelta(seconds=30))
            return await super()._publish(*arguments)

    async with world.bench.engine.begin() as connection:
        old = stored_objects.c.noted_at - timedelta(days=2)
        await connection.execute(update(stored_objects).values(noted_at=old))
    other = await world.begin()
    write(other, "a", content)
    await world.snapshot(other, by=world.taking(Swept))

    await world.check()


async def test_a_deletion_under_way_is_waited_for(world: World):
    """An upload that comes while its pack is being deleted puts it again."""
    build, content = await world.begin(), fresh(90_000)
    write(build, "a", content)
    point = await world.snapshot(build)
    _, packs = await world.named()
    async with world.bench.engine.begin() as connection:
        await connection.execute(restore_points.delete().filter_by(id=point.restore_point))
    reached, opened = asyncio.Event(), asyncio.Event()

    class Slow(type(world.bench.objects)):
        async def delete(self, key):
            reached.set()
            await opened.wait()
            await super().delete(key)

    slow = Slow.__new__(Slow)
    slow.__dict__ = world.bench.objects.__dict__
    stored = type(world.bench.stored)(world.bench.engine, slow)
    sweeping = asyncio.create_task(stored.sweep(min_age=NOW))
    await reached.wait()
    other = await world.begin()
    write(other, "a", content)
    taking = asyncio.create_task(world.snapshot(other))
    await asyncio.wait({taking}, timeout=0.3)
    waited = not taking.done()
    opened.set()
    await sweeping
    await taking

    assert waited
    assert packs <= (await world.named())[1]
    await world.check()


async def test_a_fork_that_is_being_made_holds_its_point(world: World):
    """A prune passes over it and all that it builds on, and one that came first leaves a clear word."""
    build = await world.begin()
    points = []
    for _ in range(NEWEST + 16):
        write(build, "a", fresh())
        points.append((await world.snapshot(build)).restore_point)
    async with world.bench.engine.begin() as connection:
        held = await hold_point(connection, build.id, 2)
        await world.prune()
    kept = await world.kept()
    await world.check()
    await world.prune()
    async with world.bench.engine.begin() as connection:
        with pytest.raises(ApplicationError, match="Kept are: turn") as gone:
            await hold_point(connection, build.id, 2)

    assert points[1] == held.id
    assert points[1] in kept
    assert "turn 21" in gone.value.message
    await world.check()
