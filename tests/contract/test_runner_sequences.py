"""Whatever happens to a tree and to its uploads, what is restored is what was captured."""

import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from activities.manifests import SLICES, Manifest, merge, pack_manifest
from activities.runner.dispatch import answer
from tests.runner_box import tree, until
from tests.runner_store import unpacked

NAMES = ["a", "b", "node_modules", os.fsdecode(b"caf\xe9"), "new\nline", 'quo"te', "-rf", ".git", "100%"]
CONTENTS = [b"", b"one", b"two", b"x" * 5_000]
FINE, TEN, COARSE = (1, 0.02), (10_000_000, 0.03), (40_000_000, 0.08)
"""Granularity of change times in nanoseconds, and the seconds within which a file is read again."""


class Sandbox:
    """A home that can be lost, and the worker's side of the store: packs and a chain of manifests."""

    def __init__(self, root: Path, clock: tuple[int, float]) -> None:
        self.root = root
        self.tick_ns, self.settle_seconds = clock
        self.generation = 0
        self.packs: dict[str, bytes] = {}
        self.chain: list[tuple[str, Manifest]] = []
        """Since the last full manifest."""
        self.renew()

    def renew(self) -> None:
        self.generation += 1
        self.told: dict[str, Any] | None = None
        self.home = self.root / str(self.generation)
        self.workspace = self.home / "workspace"
        self.workspace.mkdir(parents=True)

    def run(self, command: str, **fields: Any) -> dict[str, Any]:
        places = {
            "home": str(self.home),
            "workspace": str(self.workspace),
            "generation": self.generation,
        }
        limits = {"settle_seconds": self.settle_seconds, "tick_ns": self.tick_ns, "pack_bytes": 4_000}
        result = answer(command, {**places, "limits": limits, **fields})
        assert "error" not in result, result
        return result

    def carry(self, *, luck: int) -> None:
        """Move what lies in every other pack that was uploaded."""
        packs = sorted(self.packs)[luck % 2 :: 2]
        self.run("capture", published=self.told, full_scan=luck % 3 == 0, carried=packs)

    def publish(self, *, luck: int) -> None:
        """Upload and commit; by luck the upload fails half way, or the sandbox never learns of the commit.

        Otherwise it learns with each later request, until the next commit.
        """
        pending = self.run("pending", published=self.told)
        packs = [pack["sha256"] for row in pending["captures"] for pack in row["packs"]]
        for sha256 in packs[: len(packs) // 2] if luck == 0 else packs:
            self.packs[sha256] = (self.home / ".nightshift/packs" / sha256).read_bytes()
        if luck == 0 or pending["manifest"] is None:
            return
        number = pending["manifest"]["number"]
        manifest = Manifest.parse(unpacked(Path(pending["manifest"]["path"])))
        keys, parent = [key for key, _ in self.chain], manifest.header.parent
        self.chain = self.chain[: keys.index(parent) + 1] if parent else []
        self.chain.append((f"{number}-{len(keys)}", manifest))
        if luck > 1:
            digest = pending["manifest"]["sha256"]
            self.told = {"number": number, "key": self.chain[-1][0], "sha256": digest}

    def merged(self) -> Path:
        """Merge the newest manifests, as many as the worker reads."""
        path = self.root / "merged"
        path.write_bytes(pack_manifest(merge([each for _, each in self.chain[-SLICES:]]).render()))
        return path

    def restore(self) -> None:
        """Lose the sandbox and go on in a new one."""
        manifest = self.merged()
        folder = self.root / "packs"
        folder.mkdir(exist_ok=True)
        for sha256, content in self.packs.items():
            (folder / sha256).write_bytes(content)
        self.renew()
        packs = {sha256: {"path": str(folder / sha256)} for sha256 in self.packs}
        self.run("restore", manifest_path=str(manifest), packs=packs, key=self.chain[-1][0])


class Changes:
    """One change each of a path that exists, or of a new name beside or below it; numbers choose."""

    def __init__(self, workspace: Path, first: int, second: int) -> None:
        found = sorted(workspace.rglob("*"))
        self.path = found[first % len(found)] if found else workspace / "a"
        other = found[second % len(found)] if found else workspace
        self.new = (other if other.is_dir() and second % 2 else other.parent) / NAMES[second % len(NAMES)]
        self.content = CONTENTS[second % len(CONTENTS)]

    def write(self) -> None:
        self.new.write_bytes(self.content)

    def mkdir(self) -> None:
        self.new.mkdir()

    def sneak(self) -> None:
        """Write other content of the same size, and put the time back: only the change time can tell."""
        seen = self.path.stat()
        self.path.write_bytes(bytes(byte ^ 1 for byte in self.path.read_bytes()))
        os.utime(self.path, ns=(seen.st_atime_ns, seen.st_mtime_ns))

    def append(self) -> None:
        with self.path.open("ab") as file:
            file.write(self.content)

    def remove(self) -> None:
        shutil.rmtree(self.path) if self.path.is_dir() and not self.path.is_symlink() else self.path.unlink()

    def replace(self) -> None:
        """Make a directory of a file, and a file of a directory."""
        directory = self.path.is_dir()
        self.remove()
        self.path.write_bytes(self.content) if directory else self.path.mkdir()

    def rename(self) -> None:
        self.path.rename(self.new)

    def link(self) -> None:
        os.link(self.path, self.new, follow_symlinks=False)

    def symlink(self) -> None:
        self.new.symlink_to(self.path.name)

    def chmod(self) -> None:
        self.path.chmod(0o700 + len(self.content) % 64)

    def chown(self) -> None:
        """Give it to another owner, which only root may."""
        os.chown(self.path, len(self.content), 5 + len(self.content), follow_symlinks=False)

    def touch(self) -> None:
        os.utime(self.path, ns=(7, 1_000_000_007 * (1 + len(self.content))))

    def swap(self) -> None:
        """Exchange two names, so that each has the other's old inode."""
        spare = self.path.with_name("spare")
        self.path.rename(spare)
        self.new.rename(self.path)
        spare.rename(self.new)


CHANGES = [
    "write",
    "mkdir",
    "append",
    "remove",
    "replace",
    "rename",
    "link",
    "symlink",
    "chmod",
    "chown",
    "touch",
    "swap",
]
STEPS = [
    *CHANGES,
    "write",
    *["sneak"] * 4,
    *["capture"] * 4,
    *["publish"] * 2,
    "carry",
    "wait",
    "lose",
    "forget",
]


def take(sandbox: Sandbox, name: str, first: int, second: int) -> None:
    if name == "capture":
        sandbox.run("capture", published=sandbox.told)
    elif name == "publish":
        sandbox.run("capture", published=sandbox.told)
        sandbox.publish(luck=first % 5)
    elif name == "carry":
        sandbox.carry(luck=first)
        sandbox.publish(luck=second % 5)
    elif name == "lose":
        if sandbox.chain:
            sandbox.restore()
    elif name == "forget":
        shutil.rmtree(sandbox.home / ".nightshift" / "captures", ignore_errors=True)
    elif name == "wait":
        start = time.time()
        until(lambda: time.time() > start + sandbox.settle_seconds + 0.005)
    else:
        with suppress(OSError, shutil.Error):
            getattr(Changes(sandbox.workspace, first, second), name)()


CLOCKS = pytest.mark.parametrize(
    "clock", [FINE, TEN, COARSE], ids=["fine clock", "10 ms clock", "coarse clock"]
)
SEQUENCES = given(
    steps=st.lists(
        st.tuples(st.sampled_from(STEPS), st.integers(0, 999), st.integers(0, 999)), min_size=20, max_size=40
    )
)


def examples(number: int) -> settings:
    return settings(
        max_examples=number,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )


@CLOCKS
@examples(20)
@SEQUENCES
def test_restored_tree_is_the_captured_tree(steps: list[tuple[str, int, int]], clock: tuple[int, float]):
    """The newest published state restores exactly: after any changes, failed publishes, lost sandboxes.

    Also after the runner's notes of its captures were deleted.
    """
    assert_restored(steps, clock)


@examples(8)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from([*CHANGES, "lose"]), st.integers(0, 999), st.integers(0, 999)),
        min_size=3 * SLICES,
        max_size=5 * SLICES,
    )
)
def test_a_long_row_of_deltas_holds_everything(steps: list[tuple[str, int, int]]):
    """With a delta after each change, also in new sandboxes, a full manifest is never needed again."""
    published = [each for step in steps for each in (step, ("publish", 2, 0))]
    chain = assert_restored([("publish", 2, 0), *published], FINE)

    assert ["full"] == [each.header.kind for each in chain if each.header.kind == "full"]


@pytest.mark.long
@pytest.mark.timeout(3_600)
@CLOCKS
@examples(500)
@SEQUENCES
def test_restored_tree_is_the_captured_tree_five_hundred_times_a_clock(
    steps: list[tuple[str, int, int]], clock: tuple[int, float]
):
    """The same, over many more sequences."""
    assert_restored(steps, clock)


def assert_restored(steps: list[tuple[str, int, int]], clock: tuple[int, float]) -> list[Manifest]:
    """Take the steps, lose the sandbox, and compare; gives the manifests since the last full one."""
    with tempfile.TemporaryDirectory() as folder:
        sandbox = Sandbox(Path(folder), clock)
        for name in NAMES[:3]:
            sandbox.workspace.joinpath(name).mkdir()
            sandbox.workspace.joinpath(name, "f").write_text(name)
        for step in steps:
            take(sandbox, *step)
        sandbox.run("capture", published=sandbox.told)
        sandbox.publish(luck=2)
        expected = tree(sandbox.workspace)
        sandbox.restore()

        assert tree(sandbox.workspace) == expected
        assert sandbox.run("capture")["capture"]["bytes"] == 0
        return [each for _, each in sandbox.chain]
