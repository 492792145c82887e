"""Restores bring the same tree back, or nothing; a sandbox knows itself again."""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from activities.manifests import Manifest, merge, pack_manifest
from tests.object_store import ObjectStore, object_store
from tests.runner_box import Box, tree, until
from tests.runner_store import capture, entries, fill, publish, restore, unpacked, upload

PATH_MAX = 4096
"""Bytes of a path that Linux takes, with its end."""


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path / "home")


@pytest.fixture
def store() -> Iterator[ObjectStore]:
    with object_store() as opened:
        yield opened


def test_round_trip(box: Box, store: ObjectStore, tmp_path: Path):
    """What is captured is restored elsewhere with names, modes, times, links and empty directories."""
    fill(box.workspace)
    taken = capture(box)
    pending, uploaded = upload(box, store)
    other = Box(tmp_path / "other")
    answer = restore(other, store, pending["manifest"], key="k1")

    assert (taken["number"], taken["omitted"], taken["torn"]) == (1, [], [])
    assert uploaded["failed"] == []
    assert tree(other.workspace) == tree(box.workspace)
    assert answer["files"] == taken["changed"]
    assert sorted(file.name for file in other.home.iterdir()) == [".nightshift", "workspace"]


def test_capture_after_a_restore_is_incremental(box: Box, store: ObjectStore, tmp_path: Path):
    """A restore rebuilds the index: nothing is read again, and the next manifest is a delta on it."""
    fill(box.workspace)
    capture(box)
    pending, _ = upload(box, store)
    other = Box(tmp_path / "other")
    restore(other, store, pending["manifest"], key="k1")
    idle = capture(other)
    (other.workspace / "added").write_text("new")
    taken = capture(other)
    manifest = other.run("pending")["manifest"]

    assert (idle["number"], idle["changed"], idle["bytes"]) == (1, 0, 0)
    assert (taken["number"], taken["changed"]) == (2, 2)
    assert (manifest["kind"], manifest["parent"]) == ("delta", "k1")
    assert {".", "added"} <= entries(manifest).keys()
    assert len(entries(manifest)) < len(entries(pending["manifest"]))


def test_symlinks_that_are_one_stay_one(box: Box, store: ObjectStore, tmp_path: Path):
    """Hard links of a symlink come back as such, through the worker's merge too; one that left is its own."""
    (box.workspace / "node_modules").mkdir()
    (box.workspace / "zz").symlink_to("no/where")
    for name in ("a", "node_modules/b"):
        os.link(box.workspace / "zz", box.workspace / name, follow_symlinks=False)
    capture(box)
    full = upload(box, store)[0]["manifest"]
    first = Box(tmp_path / "first")
    restore(first, store, full, source_only=True)
    chain = [Manifest.parse(unpacked(Path(full["path"])))]
    publish(box, full, "k1")
    (box.workspace / "a").unlink()
    (box.workspace / "a").symlink_to("no/where")
    capture(box)
    delta = box.run("pending")["manifest"]
    chain.append(Manifest.parse(unpacked(Path(delta["path"]))))
    merged = tmp_path / "merged"
    merged.write_bytes(pack_manifest(merge(chain).render()))
    second = Box(tmp_path / "second")
    restore(second, store, {"path": str(merged)}, key="k2")

    assert delta["kind"] == "delta"
    assert (first.workspace / "a").lstat().st_ino == (first.workspace / "zz").lstat().st_ino
    assert tree(second.workspace) == tree(box.workspace)
    assert capture(second)["changed"] == 0


@pytest.mark.parametrize("same_as", ["..%2Foutside", "f", "l", "other", "missing"])
def test_symlink_is_made_the_same_as_its_equal_only(box: Box, same_as: str):
    """A symlink said to be the same as what is no equal symlink of the manifest is made on its own."""
    row = {"mode": 0o700, "mtime_ns": 1, "uid": os.getuid(), "gid": os.getgid()}
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    lines = [
        {"format": 1, "number": 1, "parent": None, "kind": "full", "created": "", "entries": 4},
        {"path": ".", "kind": "dir", **row},
        {"path": "f", "kind": "file", "size": 0, "sha256": empty, **row},
        {"path": "l", "kind": "symlink", "target": "f", "same_as": same_as, **row},
        {"path": "other", "kind": "symlink", "target": "g", **row},
    ]
    (box.home / "outside").symlink_to("f")
    manifest = box.home / "manifest"
    manifest.write_bytes(pack_manifest("\n".join(map(json.dumps, lines)).encode()))
    answer = box.run("restore", manifest_path=str(manifest), packs={})

    assert answer["files"] == 4
    assert (box.workspace / "l").readlink() == Path("f")
    assert (box.workspace / "l").lstat().st_nlink == 1


def test_source_only_leaves_caches_out(box: Box, store: ObjectStore, tmp_path: Path):
    """Checks restore source only; a file linked from a cache is still there."""
    fill(box.workspace)
    os.link(box.workspace / "node_modules" / "dep" / "index.js", box.workspace / "zz")
    capture(box)
    pending, _ = upload(box, store)
    other = Box(tmp_path / "other")
    answer = restore(other, store, pending["manifest"], source_only=True)

    assert answer["skipped"] == 3
    assert not (other.workspace / "node_modules").exists()
    assert (other.workspace / "zz").read_text() == "1"
    assert (other.workspace / ".git" / "HEAD").exists()


@pytest.mark.parametrize("damage", ["pack", "entry", "cut", "missing"])
def test_damage_is_found_and_nothing_is_touched(box: Box, store: ObjectStore, tmp_path: Path, damage: str):
    """A pack, entry or manifest that is not what its digest says fails the restore; the workspace stays."""
    (box.workspace / "a").write_text("content")
    capture(box)
    manifest = upload(box, store)[0]["manifest"]
    key, content = next(iter(store.objects.items()))
    path = Path(manifest["path"])
    text = unpacked(path)
    if damage == "pack":
        store.objects[key] = content[:-1] + bytes([content[-1] ^ 1])
    elif damage == "missing":
        store.objects.clear()
    elif damage == "entry":
        path.write_bytes(pack_manifest(text.replace(b'"size":7', b'"size":6')))
    other = Box(tmp_path / "other")
    (other.workspace / "mine").write_text("kept")
    if damage == "cut":
        path.write_bytes(pack_manifest(b"".join(text.splitlines(keepends=True)[:-1])))
    answer = restore(other, store, manifest)

    expected = {"pack": "corrupt", "entry": "corrupt", "missing": "missing"}
    assert answer["error"]["kind"] == expected.get(damage, "invalid_manifest")
    assert [file.name for file in other.workspace.iterdir()] == ["mine"]
    assert sorted(file.name for file in other.home.iterdir()) == [".nightshift", "workspace"]


def test_a_manifest_that_is_cut_short_is_refused(box: Box):
    """Also where the cut goes through what is compressed."""
    manifest = box.home / "manifest"
    manifest.write_bytes(pack_manifest(b"{}\n" * 1_000)[:-9])

    answer = box.run("restore", manifest_path=str(manifest), packs={})

    assert answer["error"]["kind"] == "invalid_manifest"


@pytest.mark.parametrize("path", ["..%2Fout", "a/../../out", "%2Fetc%2Fout", "l/out", "", "a%00b"])
def test_manifest_cannot_lead_outside(box: Box, path: str):
    """A manifest whose path climbs out, or goes through a symlink, is refused as a whole."""
    row = {"mode": 0o755, "mtime_ns": 1, "uid": 0, "gid": 0}
    lines = [
        {"format": 1, "number": 1, "parent": None, "kind": "full", "created": "", "entries": 3},
        {"path": ".", "kind": "dir", **row},
        {"path": "l", "kind": "symlink", "target": "..", **row},
        {"path": path, "kind": "dir", **row},
    ]
    manifest = box.home / "manifest"
    manifest.write_bytes(pack_manifest("\n".join(map(json.dumps, lines)).encode()))
    answer = box.run("restore", manifest_path=str(manifest), packs={})

    assert answer["error"]["kind"] == "invalid_manifest"
    assert not (box.home / "out").exists()


WRITER = (
    "import sqlite3, itertools\n"
    "db = sqlite3.connect('db', isolation_level=None)\n"
    "db.execute('pragma journal_mode=wal'); db.execute('create table t(n, pad)')\n"
    "for n in itertools.count():\n"
    "    db.execute('begin'); db.execute('insert into t values(?, ?)', (n, 'x' * 3000))\n"
    "    db.execute('insert into t values(?, ?)', (n, 'y' * 3000)); db.execute('commit')\n"
    "    if n % 300 == 299: db.execute('delete from t')\n"
)


@pytest.mark.parametrize(
    "times", [5, pytest.param(100, marks=[pytest.mark.long, pytest.mark.timeout(1_800)])]
)
def test_database_of_a_background_writer_is_whole(box: Box, store: ObjectStore, tmp_path: Path, times: int):
    """A database that a background command writes is captured whole: the writer stands still meanwhile."""
    (box.workspace / "w.py").write_text(WRITER)
    box.bash("w", f"{box.python} w.py", given={"background": True})
    until(lambda: (box.workspace / "db-wal").exists() and (box.workspace / "db-wal").stat().st_size > 100_000)
    found: list[tuple[str, int]] = []
    for number in range(times):
        assert capture(box)["torn"] == []
        pending, _ = upload(box, store, full=True)
        other = Box(tmp_path / f"other{number}")
        restore(other, store, pending["manifest"])
        database = sqlite3.connect(other.workspace / "db")
        rows = database.execute("select count(*) from t").fetchone()[0]
        found.append((database.execute("pragma integrity_check").fetchone()[0], rows % 2))
        database.close()
        shutil.rmtree(other.home)
        publish(box, pending["manifest"], f"k{number}")
    box.run("stop_processes")

    assert [("ok", 0)] * times == found


def test_marker_tells_this_sandbox_from_an_older_one(box: Box):
    """The marker holds for the same nonce, claim and capture only."""
    box.bash("a", "echo x > f", capture=True)
    before = box.run("verify", nonce="n1")
    box.run("mark", nonce="n1")
    same, other = box.run("verify", nonce="n1"), box.run("verify", nonce="n2")
    box.bash("b", "echo y > f", capture=True)
    later = box.run("verify", nonce="n1")

    assert (before["intact"], same, other["intact"]) == (False, {"intact": True, "reason": ""}, False)
    assert "claim is '1-b', was '1-a'" in later["reason"]
    assert "capture is 2, was 1" in later["reason"]


def older(box: Box) -> None:
    (box.workspace / "f").write_bytes(b"y\n")
    os.utime(box.workspace / "f", ns=(1, 1))


def retarget(box: Box) -> None:
    (box.workspace / "l").unlink()
    (box.workspace / "l").symlink_to("g")


CHANGES: dict[str, Callable[[Box], object]] = {
    "missing": lambda box: (box.workspace / "f").unlink(),
    "empty": lambda box: [path.unlink() for path in box.workspace.glob("[!d]*")],
    "cut": lambda box: os.truncate(box.workspace / "f", 0),
    "older": older,
    "more": lambda box: (box.workspace / "d" / "new").write_bytes(b""),
    "mode": lambda box: (box.workspace / "f").chmod(0o700),
    "link": retarget,
    "folder": lambda box: (box.workspace / "e").mkdir(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_marker_tells_files_that_are_not_those_of_the_pause(box: Box, change: str):
    """Though the runner's own state came back: missing, cut, older or other files, whatever they hold."""
    box.bash("a", "echo x > f; mkdir d; echo y > d/g; ln -s f l", capture=True)
    box.run("mark", nonce="n")
    CHANGES[change](box)
    found = box.run("verify", nonce="n")

    assert not found["intact"]
    assert "the files in the workspace are not those that were paused" == found["reason"]


def test_marker_minds_no_change_that_a_resume_may_make(box: Box):
    """Times of access, of change and of directories, sockets, and what lies outside the workspace."""
    box.bash("a", "echo x > f; mkdir d; echo y > d/g; ln -s f l; mkfifo p", capture=True)
    box.run("mark", nonce="n")
    seen = (box.workspace / "f").stat()
    os.utime(box.workspace / "f", ns=(1, seen.st_mtime_ns))
    (box.workspace / "p").unlink()
    os.utime(box.workspace / "d", ns=(1, 1))
    (box.home / "outside").write_text("new")

    assert {"intact": True, "reason": ""} == box.run("verify", nonce="n")


def test_marker_of_an_older_runner_holds(box: Box):
    """It says nothing of the files, so they are believed."""
    box.bash("a", "echo x > f", capture=True)
    marker = box.run("mark", nonce="n")
    del marker["files"]
    box.state("marker").write_text(json.dumps(marker))
    (box.workspace / "f").unlink()

    assert box.run("verify", nonce="n")["intact"]


def test_restore_moves_an_old_workspace_aside(box: Box, store: ObjectStore, tmp_path: Path):
    """What was there is kept aside and not mixed with what is restored; a half restore goes, however deep."""
    (box.workspace / "a").write_text("x")
    capture(box)
    pending, _ = upload(box, store)
    other = Box(tmp_path / "other")
    (other.workspace / "mine").write_text("kept")
    half = str(other.home / ".r1")
    Path(half).mkdir()
    for _ in range(1_500):
        half += "/d"
        Path(half).mkdir()
    restore(other, store, pending["manifest"])

    assert sorted(file.name for file in other.home.iterdir()) == [".nightshift", "workspace"]
    assert [file.name for file in other.workspace.iterdir()] == ["a"]
    assert next(other.state().glob("aside-*/mine")).read_text() == "kept"


def test_a_late_restore_takes_nothing_back(box: Box, store: ObjectStore, tmp_path: Path):
    """Once a call was made in a sandbox, the request of an attempt that was overtaken finds it in use."""
    (box.workspace / "a").write_text("x")
    capture(box)
    pending, _ = upload(box, store)
    other = Box(tmp_path / "other")
    restore(other, store, pending["manifest"])
    other.bash("a", "echo work > a")
    late = restore(other, store, pending["manifest"])

    assert late["error"]["kind"] == "in_use"
    assert (other.workspace / "a").read_text() == "work\n"


def test_the_longest_path_comes_back(box: Box, store: ObjectStore, tmp_path: Path):
    """What could be captured can be restored where home has as long a name: nothing on the way is longer."""
    other = Box(tmp_path / "same")
    longest = str(box.workspace)
    while len(longest) < PATH_MAX - 1:
        longest += "/" + "d" * min(100, PATH_MAX - 2 - len(longest))
        Path(longest).mkdir()
    taken = capture(box)
    pending, _ = upload(box, store)
    answer = restore(other, store, pending["manifest"])

    assert taken["omitted"] == []
    assert "error" not in answer
    assert Path(longest.replace(str(box.workspace), str(other.workspace))).is_dir()
