"""Captures hold what changed, within limits, and never what is outside."""

import marshal
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from activities.runner.packs import open_regular
from activities.runner.rows import Row
from tests.object_store import ObjectStore, object_store
from tests.runner_box import Box
from tests.runner_store import capture, entries, publish


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path / "home")


@pytest.fixture
def store() -> Iterator[ObjectStore]:
    with object_store() as opened:
        yield opened


def test_limits_leave_out_by_name(box: Box):
    """Files over a limit are named and noted; source comes before caches; the next capture goes on."""
    (box.workspace / "large").write_bytes(b"x" * 5_000)
    (box.workspace / "node_modules").mkdir()
    (box.workspace / "node_modules" / "a").write_bytes(os.urandom(600))
    (box.workspace / "zz").write_bytes(os.urandom(600))
    limits = {"file_bytes": 4_000, "changed_bytes": 1_000}
    first = capture(box, limits=limits)
    kinds = {name: row["kind"] for name, row in entries(box.run("pending")["manifest"]).items()}
    second = capture(box, limits=limits)

    assert first["omitted"] == ["large", "node_modules/a"]
    assert (kinds["large"], kinds["node_modules/a"], kinds["zz"]) == ("omitted", "omitted", "file")
    assert (second["omitted"], second["changed"]) == (["large"], 1)


def test_limit_of_entries(box: Box):
    """A tree with too many entries is captured up to the limit, and where it ends is named."""
    for number in range(50):
        (box.workspace / f"f{number}").write_text("")
    taken = capture(box, limits={"entries": 20})

    assert (taken["changed"], taken["omitted"]) == (20, ["."])


def test_packs_are_closed_at_their_size(box: Box):
    """A capture makes several packs rather than one that is too large to send again."""
    for number in range(6):
        (box.workspace / f"f{number}").write_bytes(os.urandom(1_000))
    capture(box, limits={"pack_bytes": 2_000})
    packs = box.run("pending")["captures"][0]["packs"]

    assert [2_000 < pack["bytes"] < 3_500 for pack in packs] == [True, True, True]


def test_content_is_stored_once(box: Box):
    """The same content under other names, or again after a touch, adds nothing to the packs."""
    (box.workspace / "a").write_bytes(os.urandom(100_000))
    first = capture(box)
    (box.workspace / "b").write_bytes((box.workspace / "a").read_bytes())
    os.utime(box.workspace / "a", ns=(5, 5))
    second = capture(box)

    assert first["bytes"] > 100_000
    assert (second["changed"], second["bytes"]) == (3, 0)


def test_damaged_index_costs_only_work(box: Box):
    """Without its index a capture reads and packs all again, under a new number."""
    (box.workspace / "a").write_text("x")
    capture(box)
    publish(box, box.run("pending")["manifest"], "k1")
    box.state("captures", "index").write_bytes(b"damaged")
    taken = capture(box)

    assert taken["number"] == 2
    assert "a" in entries(box.run("pending", full=True)["manifest"])


def test_a_lost_pack_made_again_under_its_name_waits_for_its_upload(box: Box):
    """Though no file changed, and the manifest says the same as before."""
    (box.workspace / "a").write_bytes(os.urandom(1_000))
    capture(box)
    pending = box.run("pending")
    (pack,) = (pack["sha256"] for row in pending["captures"] for pack in row["packs"])
    publish(box, pending["manifest"], "k1")
    again = capture(box, emptied=[pack])
    waiting = box.run("pending")["captures"]

    assert (0, 2) == (again["changed"], again["number"])
    assert [pack] == [pack["sha256"] for row in waiting for pack in row["packs"]]


def test_mapped_store_is_found_by_a_full_scan(box: Box):
    """Content that changed without its stat is found by a full scan."""
    file = box.workspace / "a"
    file.write_text("one")
    capture(box, limits={"settle_seconds": -1})
    before = file.stat()
    index = box.state("captures", "index").read_bytes()
    file.write_text("two")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    box.state("captures", "index").write_bytes(_with_ctime(index, file.stat().st_ctime_ns))

    assert capture(box, limits={"settle_seconds": -1})["bytes"] == 0
    assert capture(box, full_scan=True)["bytes"] > 0


def _with_ctime(index: bytes, ctime_ns: int) -> bytes:
    """Make the index believe in another change time, as if the store had not moved it."""
    form, number, created, rows = marshal.loads(index)  # noqa: S302 - what the runner wrote
    at = Row._fields.index("ctime_ns")
    return marshal.dumps(
        (form, number, created, {path: (*row[:at], ctime_ns, *row[at + 1 :]) for path, row in rows.items()})
    )


def test_vanished_and_special_files_do_not_fail(box: Box):
    """FIFOs and sockets are not captured and do not hang a capture."""
    os.mkfifo(box.workspace / "fifo")
    (box.workspace / "a").write_text("x")

    assert capture(box)["changed"] == 2


def test_workspace_that_became_a_symlink_is_not_captured(box: Box, tmp_path: Path):
    """Files from outside cannot get into a snapshot by a symlink in the workspace's place."""
    tmp_path.joinpath("outside").mkdir()
    box.workspace.rmdir()
    box.workspace.symlink_to(tmp_path / "outside")

    assert box.run("capture")["error"]["kind"] == "workspace_replaced"


def test_a_file_that_cannot_be_opened_just_now_is_not_taken_for_gone(tmp_path: Path):
    """Only what is absent is left out without a word: what passes fails the capture, which is made again."""
    (tmp_path / "file").write_text("x")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            open_regular(bytes(tmp_path / "file"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert open_regular(bytes(tmp_path / "gone")) is None
