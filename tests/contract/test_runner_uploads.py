"""What was captured reaches the store once, and a chain of manifests says what changed."""

import base64
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from activities.runner.manifest import SLICES
from tests.object_store import ObjectStore, object_store
from tests.runner_box import Box
from tests.runner_store import PUT, capture, entries, publish, upload


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path / "home")


@pytest.fixture
def store() -> Iterator[ObjectStore]:
    with object_store() as opened:
        yield opened


def test_deltas_say_what_changed_and_what_went(box: Box, store: ObjectStore):
    """After a published manifest the next names only the difference; published packs are forgotten."""
    for name in "abc":
        (box.workspace / name).write_text(name)
    capture(box)
    publish(box, upload(box, store)[0]["manifest"], "k1")
    (box.workspace / "a").unlink()
    (box.workspace / "b").write_text("changed")
    (box.workspace / "c").rename(box.workspace / "d")
    capture(box)
    pending, _ = upload(box, store)
    rows = entries(pending["manifest"])

    assert {name: row["kind"] for name, row in rows.items()} == {
        ".": "dir",
        "a": "gone",
        "b": "file",
        "c": "gone",
        "d": "file",
    }
    assert [row["number"] for row in pending["captures"]] == [2]
    assert len(list(box.state("packs").iterdir())) == 1
    assert rows["d"]["pack"] not in [pack["sha256"] for row in pending["captures"] for pack in row["packs"]]


def test_each_delta_lists_another_slice_of_all_paths(box: Box):
    """Any sixteen in a row name every path, however few changed; and a full manifest can be asked for."""
    names = {f"n{number}" for number in range(40)}
    for name in names:
        (box.workspace / name).write_text(name)
    found: list[tuple[str, set[str]]] = []
    for number in range(1, 20):
        (box.workspace / "f").write_text(str(number))
        capture(box)
        manifest = box.run("pending")["manifest"]
        found.append((manifest["kind"], names & entries(manifest).keys()))
        publish(box, manifest, f"k{number}")
    listed = [told for _, told in found]

    assert ["full", *["delta"] * 18] == [kind for kind, _ in found]
    for first in range(1, 4):
        slices = listed[first : first + SLICES]
        assert names == set().union(*slices)
        assert len(names) == sum(map(len, slices))
    assert box.run("pending") == {"captures": [], "manifest": None}
    assert box.run("pending", full=True)["manifest"]["kind"] == "full"


def test_small_packs_come_along_with_the_answer(box: Box):
    """What is asked for inline holds the very bytes of packs and manifest, or, above the limit, none."""
    (box.workspace / "a").write_text("small")
    capture(box)
    with_all, without = box.run("pending", inline=10_000), box.run("pending", inline=10)
    pack, manifest = with_all["captures"][0]["packs"][0], with_all["manifest"]

    assert Path(pack["path"]).read_bytes() == base64.b64decode(pack["content"])
    assert Path(manifest["path"]).read_bytes() == base64.b64decode(manifest["content"])
    assert "content" not in {*without["manifest"], *without["captures"][0]["packs"][0]}


def test_a_call_tells_what_is_pending_after_it(box: Box):
    """Asked for it, its answer holds what `pending` would say; what was committed before is heard first."""
    first = box.bash("a", "echo x > f", capture=True, inline=10_000)
    manifest = first["pending"]["manifest"]
    told = {"number": 1, "key": "k1", "sha256": manifest["sha256"]}
    second = box.bash("b", "echo y > g", capture=True, inline=10_000, published=told)
    idle = box.bash("c", "cat g", capture=True, inline=10_000)

    assert ("full", None) == (manifest["kind"], manifest["parent"])
    assert ("delta", "k1") == (second["pending"]["manifest"]["kind"], second["pending"]["manifest"]["parent"])
    assert idle["pending"] == box.run("pending", inline=10_000)
    assert "pending" not in box.bash("a", "echo x > f", capture=True, inline=10_000)


def test_a_commit_of_captures_that_are_gone_is_not_believed(box: Box):
    """The notes of captures were deleted and their numbers begin again: what is new stays pending."""
    (box.workspace / "a").write_text("first")
    capture(box)
    committed = box.run("pending")["manifest"]
    shutil.rmtree(box.state("captures"))
    (box.workspace / "a").write_text("second")
    capture(box)
    before = box.run("pending")["manifest"]
    after = publish(box, committed, "k1")["manifest"]

    assert (1, before) == (before["number"], after)


def test_failed_publish_is_made_up(box: Box, store: ObjectStore):
    """Captures that were not published stay pending, with their packs."""
    (box.workspace / "a").write_text("first")
    (box.workspace / "b").write_text("kept")
    capture(box)
    (box.workspace / "c").write_text("third")
    capture(box)
    pending, uploaded = upload(box, store)
    packs = [pack["sha256"] for row in pending["captures"] for pack in row["packs"]]

    assert [row["number"] for row in pending["captures"]] == [1, 2]
    assert sorted(uploaded["uploaded"]) == sorted(packs)
    assert pending["manifest"]["kind"] == "full"


def test_upload_of_what_is_there_succeeds(box: Box, store: ObjectStore):
    """412 means that another attempt was faster: a success, told apart from a refusal."""
    (box.workspace / "a").write_text("x")
    capture(box)
    first, second = upload(box, store)[1], upload(box, store)[1]
    pack = first["uploaded"][0]
    refused = box.run("upload", packs={pack: {"url": f"{store.url}/other?sig=secret", "headers": {}}})
    missing = box.run("upload", packs={"0" * 64: {"url": f"{store.url}/x?sig=secret", "headers": PUT}})

    assert second["uploaded"] == first["uploaded"]
    assert [row["status"] for row in refused["failed"] + missing["failed"]] == [403, 404]
    assert "secret" not in json.dumps([refused, missing])


def test_upload_tries_again(box: Box, store: ObjectStore):
    """A store that is busy is asked again, up to three times; then its status is told."""
    (box.workspace / "a").write_text("x")
    capture(box)
    store.failures += [503]
    assert upload(box, store)[1]["failed"] == []

    (box.workspace / "a").write_text("y")
    capture(box)
    store.failures += [503] * 3
    assert [row["status"] for row in upload(box, store)[1]["failed"]] == [503]


def test_no_answer_is_a_failure_without_the_url(box: Box):
    """A store that is down is status 0, and the presigned URL stays out of the message."""
    (box.workspace / "a").write_text("x")
    capture(box)
    pack = box.run("pending")["captures"][0]["packs"][0]["sha256"]
    answer = box.run("upload", packs={pack: {"url": "http://127.0.0.1:1/x?sig=secret", "headers": PUT}})

    assert [row["status"] for row in answer["failed"]] == [0]
    assert "secret" not in json.dumps(answer)


def test_transfers_go_by_the_proxy(box: Box, store: ObjectStore):
    """The sandbox's proxy is used for hosts that are not excepted."""
    (box.workspace / "a").write_text("x")
    capture(box)
    pack = box.run("pending")["captures"][0]["packs"][0]["sha256"]
    box.environment = {"PATH": os.environ["PATH"], "http_proxy": store.url}
    answer = box.run("upload", packs={pack: {"url": "http://store.example/packs/x?sig=1", "headers": PUT}})

    assert answer["failed"] == []
    assert store.requests == [("PUT", "http://store.example/packs/x?sig=1")]


def test_emptied_pack_is_carried_forward(box: Box, store: ObjectStore):
    """The live content of a pack that is to be emptied is packed again, so that the old pack can be swept."""
    (box.workspace / "a").write_text("x")
    capture(box)
    pending, _ = upload(box, store)
    old = pending["captures"][0]["packs"][0]["sha256"]
    publish(box, pending["manifest"], "k1")
    (box.workspace / "b").write_text("y")
    capture(box, emptied=[old])
    manifest = box.run("pending", full=True)["manifest"]

    assert old not in {row.get("pack") for row in entries(manifest).values()}


def test_mostly_dead_pack_is_carried_forward_once(box: Box, store: ObjectStore):
    """No limit leaves its content out, and it lies apart from what is new.

    Asked again, or short of room, nothing is done.
    """
    (box.workspace / "a").write_text("x" * 100)
    (box.workspace / "dead").write_text("z")
    capture(box)
    pending, _ = upload(box, store)
    old = pending["captures"][0]["packs"][0]["sha256"]
    publish(box, pending["manifest"], "k1")
    (box.workspace / "dead").unlink()
    capture(box, carried=[old], limits={"carry_free_bytes": 2**60})
    full_disk = entries(box.run("pending")["manifest"])
    (box.workspace / "dead").write_text("y")
    taken = [
        capture(box, carried=[old], full_scan=full, limits={"changed_bytes": 1}) for full in (False, True)
    ]
    rows = entries(box.run("pending")["manifest"])

    assert "a" not in full_disk
    assert [3, 3] == [one["number"] for one in taken]
    assert [[], []] == [one["omitted"] for one in taken]
    assert 3 == len({old, rows["a"]["pack"], rows["dead"]["pack"]})


def test_lost_pack_is_noticed_and_made_again(box: Box):
    """A pack that vanished before its upload is an error of its own kind, and can be made again."""
    (box.workspace / "a").write_text("x")
    capture(box)
    pack = next(box.state("packs").iterdir())
    pack.unlink()
    lost = box.run("pending")["error"]
    capture(box, emptied=[pack.name])

    assert lost["kind"] == "lost_packs"
    assert "error" not in box.run("pending", full=True)


def test_hearing_of_a_commit_is_finished_by_whoever_hears_it_again(box: Box):
    """An attempt that died in the middle of it, as on a full disk, does not stop the ones after it."""
    (box.workspace / "a").write_text("x")
    capture(box)
    first = box.run("pending")["manifest"]
    Path(f"{first['path']}.index").replace(box.state("captures", "published-index"))
    again = publish(box, first, "k1")
    (box.workspace / "b").write_text("y")
    capture(box)
    second = box.run("pending")["manifest"]

    assert again["manifest"] is None
    assert ("delta", "k1") == (second["kind"], second["parent"])
