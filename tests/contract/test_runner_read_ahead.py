"""A file that was read before processes are frozen is known by its stat, if that can tell a later change."""

import mmap
import os
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from activities.runner.looking import Look, Rules
from activities.runner.mappings import mapped
from activities.runner.packs import Kept, Packer
from activities.runner.rows import Row
from activities.runner.scan import scan
from activities.runner.state import State
from tests.contract.test_runner_sequences import CHANGES, CLOCKS, Sandbox, examples, take
from tests.runner_box import until

ALL = 1_000_000
"""A limit of entries and bytes that nothing meets."""


def age(folder: Path) -> None:
    """Make files look written long ago, all but by their change times."""
    for path in folder.rglob("*"):
        os.utime(path, ns=(7, 7_000_000_007), follow_symlinks=False)


def settle(seconds: float) -> None:
    start = time.time()
    until(lambda: time.time() > start + seconds + 0.005)


class Reader(Packer):
    """A packer that notes what is read."""

    def __init__(self, state: State, *, most: int) -> None:
        super().__init__(state, known={}, pack_bytes=4_000, most=most)
        self.read: list[str] = []

    @override
    def keep(self, path: bytes, *, most: int) -> Kept | None:
        self.read.append(Path(os.fsdecode(path)).name)
        return super().keep(path, most=most)


class Freeze:
    """Reads a workspace ahead, and then looks at it as if its processes stood still."""

    def __init__(self, home: Path, *, settle: float, tick_ns: int = 1, full: bool = False, most: int = ALL):
        self.state = State(str(home), str(home / "workspace"), 1)
        self.root = os.fsencode(self.state.workspace)
        self.packer = Reader(self.state, most=most)
        self.rules = Rules(
            settled_ns=int((time.time() - settle) * 1e9),
            file_bytes=ALL,
            tick_ns=tick_ns,
            full=full,
            emptied=frozenset(),
            carried=frozenset(),
        )
        self.ahead: dict[bytes, Row] = {}

    def read_ahead(self) -> None:
        look = Look(self.root, before={}, rules=self.rules, packer=self.packer)
        self.ahead = look.read_ahead(scan(self.root, most=ALL), mapped=mapped([os.getpid()]))
        self.packer.read.clear()

    def look(self) -> Look:
        look = Look(self.root, before=self.ahead, rules=self.rules, packer=self.packer)
        look.look(scan(self.root, most=ALL))
        return look

    def contents(self, look: Look) -> dict[str, tuple[int, bytes]]:
        """What its rows say of files: mode, and the content that lies in the packs."""
        rows = {os.fsdecode(path): row for path, row in look.after.items()}
        return {path: (row.mode, self._content(row)) for path, row in rows.items() if row.sha256}

    def _content(self, row: Row) -> bytes:
        if not row.pack:
            return b""
        with Path(self.state.path("packs", row.pack)).open("rb") as file:
            file.seek(row.offset)
            return zlib.decompress(file.read(row.length), 31)


def on_disk(workspace: Path) -> dict[str, tuple[int, bytes]]:
    files = [path for path in workspace.rglob("*") if path.is_file() and not path.is_symlink()]
    return {
        str(path.relative_to(workspace)): (path.stat().st_mode & 0o7777, path.read_bytes()) for path in files
    }


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home whose workspace holds two settled files."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    for name in ("a", "b"):
        workspace.joinpath(name).write_text(f"old {name}")
    age(workspace)
    settle(0.01)
    return tmp_path


def rewrite(file: Path) -> None:
    file.write_text("new a")
    os.utime(file, ns=(7, 7_000_000_007))


def exchange(file: Path) -> None:
    file.with_name("spare").write_text("new a")
    os.utime(file.with_name("spare"), ns=(7, 7_000_000_007))
    file.with_name("spare").rename(file)


def into_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


BETWEEN: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "nothing": (lambda _: None, []),
    "written, its time put back": (rewrite, ["a"]),
    "replaced by a rename": (exchange, ["a"]),
    "another mode": (lambda file: file.chmod(0o700), ["a"]),
    "another name": (lambda file: file.rename(file.with_name("c")), ["c"]),
    "a second name": (lambda file: os.link(file, file.with_name("c")), ["a"]),
    "removed": (lambda file: file.unlink(), []),
    "a directory": (into_a_folder, []),
    "a new file": (lambda file: file.with_name("c").write_text("c"), ["c"]),
}


@pytest.mark.parametrize(("change", "read"), BETWEEN.values(), ids=BETWEEN)
def test_what_changes_after_it_was_read_ahead_is_read_again(
    home: Path, change: Callable[[Path], object], read: list[str]
):
    """The capture holds the newest state of each file, and reads nothing else."""
    freeze = Freeze(home, settle=0.01)
    freeze.read_ahead()
    change(home / "workspace" / "a")
    look = freeze.look()

    assert on_disk(home / "workspace") == freeze.contents(look)
    assert read == freeze.packer.read


@pytest.mark.parametrize(
    "rule", [{"settle": 3_600.0}, {"settle": 0.01, "full": True}], ids=["fresh", "full scan"]
)
def test_what_a_stat_may_not_tell_is_read_again(home: Path, rule: dict[str, Any]):
    """What was written too short before is not trusted, and a full scan trusts nothing."""
    freeze = Freeze(home, **rule)
    freeze.read_ahead()
    freeze.look()

    assert ["a", "b"] == freeze.packer.read


def test_a_store_into_a_mapped_file_is_captured(home: Path):
    """Though it shows in no stat, as the page is dirty already: what is mapped is read once nothing runs."""
    with (home / "workspace" / "a").open("r+b") as file:
        mapping = mmap.mmap(file.fileno(), 0)
    mapping[0:3] = b"one"
    age(home / "workspace")
    settle(0.01)
    freeze = Freeze(home, settle=0.01)
    freeze.read_ahead()
    mapping[0:3] = b"two"
    look = freeze.look()

    assert b"two a" == freeze.contents(look)["a"][1]
    assert ["a"] == freeze.packer.read


def test_what_was_read_ahead_counts_once(home: Path):
    """A limit of bytes that all files meet exactly leaves none of them out; a file written again may be."""
    freeze = Freeze(home, settle=0.01, most=len("old a" + "old b"))
    freeze.read_ahead()
    same = freeze.look()
    rewrite(home / "workspace" / "a")
    changed = freeze.look()

    assert ([], [b"a"]) == (same.omitted, changed.omitted)
    assert "omitted" == changed.after[b"a"].kind


STEPS = st.lists(
    st.tuples(st.sampled_from([*CHANGES, *["sneak"] * 6]), st.integers(0, 999), st.integers(0, 999)),
    max_size=12,
)
RACES = given(old=STEPS, fresh=STEPS, between=STEPS)
Steps = list[tuple[str, int, int]]


@CLOCKS
@examples(8)
@RACES
def test_any_changes_around_a_read_ahead_are_captured(
    old: Steps, fresh: Steps, between: Steps, clock: tuple[int, float]
):
    """Whatever changed long before, just before and after it, also within a tick of the clock."""
    assert_captured(old, fresh, between, clock)


@pytest.mark.long
@pytest.mark.timeout(3_600)
@CLOCKS
@examples(500)
@RACES
def test_any_changes_around_a_read_ahead_are_captured_five_hundred_times_a_clock(
    old: Steps, fresh: Steps, between: Steps, clock: tuple[int, float]
):
    """The same, with many more changes."""
    assert_captured(old, fresh, between, clock)


def assert_captured(old: Steps, fresh: Steps, between: Steps, clock: tuple[int, float]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        sandbox = Sandbox(Path(folder), clock)
        for name in ("a", "b", "c"):
            sandbox.workspace.joinpath(name).write_text(name)
        for step in old:
            take(sandbox, *step)
        age(sandbox.workspace)
        settle(sandbox.settle_seconds)
        for step in fresh:
            take(sandbox, *step)
        freeze = Freeze(sandbox.home, settle=sandbox.settle_seconds, tick_ns=sandbox.tick_ns)
        freeze.read_ahead()
        for step in between:
            take(sandbox, *step)
        look = freeze.look()

        assert on_disk(sandbox.workspace) == freeze.contents(look)
