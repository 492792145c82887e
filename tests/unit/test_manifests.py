"""The rules of `activities/manifests.py`: what comes out of a sandbox is not believed."""

import json

import pytest

from activities.manifests import (
    SLICES,
    InvalidManifest,
    Manifest,
    is_confined,
    merge,
    pack_manifest,
    slice_of,
    unknown_packs,
    unpack_manifest,
)
from activities.runner import manifest as runner
from activities.runner.rows import quote

PACK = "a" * 64
DIGEST = "b" * 64
ROOT = {"path": ".", "kind": "dir", "mode": 493}


def file(path: str, **fields: object) -> dict[str, object]:
    given = {"path": path, "kind": "file", "mode": 420, "mtime_ns": 1, "size": 3}
    return {**given, "sha256": DIGEST, "pack": PACK, "offset": 0, "length": 23, **fields}


def folder(path: str) -> dict[str, object]:
    return {"path": path, "kind": "dir", "mode": 493}


def text(*rows: dict[str, object], **header: object) -> bytes:
    first = {"format": 1, "number": 1, "parent": None, "kind": "full", "slice": 0, "entries": len(rows)}
    first |= header
    return b"".join(json.dumps(row).encode() + b"\n" for row in (first, *rows))


def full(*rows: dict[str, object], number: int = 1) -> Manifest:
    return Manifest.parse(text(ROOT, *rows, number=number))


def delta(*rows: dict[str, object], part: int = 1) -> Manifest:
    """One that names slice 1, to which none of the paths here belongs."""
    return Manifest.parse(text(*rows, kind="delta", parent="key", number=2, slice=part))


@pytest.mark.parametrize(
    "row",
    [
        file("../outside"),
        file("/absolute"),
        file("a//b"),
        file("a/./b"),
        file("%2e%2e/outside"),
        file("a%2Fb"),
        file("nul%00"),
        file("%61"),
        file(""),
        file("f", sha256="zz"),
        file("f", sha256=None),
        file("f", pack=None),
        file("f", pack="../../secret"),
        file("f", size=-1),
        file("f", kind="device"),
        {"path": "l", "kind": "hardlink", "target": "../f"},
        {"path": "l", "kind": "hardlink", "target": "missing"},
        {"path": "l", "kind": "symlink"},
        file("no/folder"),
    ],
)
def test_a_dangerous_or_damaged_entry_is_refused(row: dict[str, object]):
    """Names are confined and spelt one way, digests are digests, links lead to what is there."""
    with pytest.raises(InvalidManifest):
        full(row)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}\n",
        b"no json\n",
        text(ROOT, entries=2),
        text(ROOT, format=2),
        text(ROOT, ROOT),
        text(ROOT, file("d"), file("d/x")),
        text(ROOT, {"path": "d", "kind": "symlink", "target": "/etc"}, file("d/passwd")),
    ],
)
def test_a_damaged_manifest_is_refused(data: bytes):
    """Cut short, doubled, of another format, or with a file under a link."""
    with pytest.raises(InvalidManifest):
        Manifest.parse(data)


def test_names_that_are_no_utf8_are_kept():
    """A name is bytes, percent-encoded."""
    manifest = full(file("caf%E9"), file("na%20me"), file("a+b@c,d=e~f"))

    assert {".", "caf%E9", "na%20me", "a+b@c,d=e~f"} == set(manifest.entries)


def test_a_merge_replaces_adds_and_removes():
    """A later line replaces the whole earlier one; gone deletes."""
    first = full(folder("d"), file("d/old"), file("kept"), file("changed"))
    second = delta({"path": "d/old", "kind": "gone"}, file("changed", size=9), file("d/new"))

    merged = merge([first, second])

    assert {".", "d", "kept", "changed", "d/new"} == set(merged.entries)
    assert merged.entries["changed"].size == 9
    assert (merged.header.kind, merged.header.number, merged.header.parent) == ("full", 2, None)
    assert merged.files == 3


def test_a_merge_that_leaves_a_file_without_its_folder_is_refused():
    """What cannot be restored is not committed."""
    gone = {"path": "d", "kind": "gone"}
    with pytest.raises(InvalidManifest, match="lies in 'd'"):
        full(folder("d"), file("d/x")).apply(delta(gone))


@pytest.mark.parametrize("part", [0, 2, 15])
def test_a_slice_out_of_turn_is_refused(part: int):
    """A sandbox that leaves one out would leave sixteen manifests that are no state."""
    with pytest.raises(InvalidManifest, match="after slice 0"):
        full(file("x")).apply(delta(file("x", size=9), part=part))


def test_a_chain_must_start_whole():
    """A delta alone is no state, nor are many that lack a slice."""
    with pytest.raises(InvalidManifest):
        merge([delta(file("x"))])
    with pytest.raises(InvalidManifest, match="lacks a slice"):
        merge([delta(part=part) for part in range(1, SLICES)])


def test_all_slices_are_a_state():
    """Sixteen deltas hold everything: also what changed after its slice; what a slice lacks is gone."""
    names = [f"f{number}" for number in range(50)]
    rows = [ROOT, *map(file, names)]
    told = [[row for row in rows if slice_of(str(row["path"])) == part] for part in range(SLICES)]
    chain = [delta(*rows, part=part) for part, rows in enumerate(told)]
    last = chain[-1].entries.keys()
    old = delta(*told[0], file("f0", size=1), file("gone"), part=0)

    merged = merge([old, *chain[1:], delta(file("new"), *told[0][1:], part=0)])

    assert {".", *names, "new"} - {str(told[0][0]["path"])} == set(merged.entries)
    assert merged.entries["f0"].size == 3
    assert last <= merged.entries.keys()


def test_the_runner_and_the_worker_slice_alike():
    """A name that is no UTF-8 too."""
    names = [b".", b"a/b", b"caf\xe9", b"new\nline", b"100%"]

    assert runner.SLICES == SLICES
    assert [runner.slice_of(name) for name in names] == [slice_of(quote(name)) for name in names]


@pytest.mark.parametrize("damage", ["cut", "changed", "longer", "too large"])
def test_what_cannot_be_unpacked_is_refused(damage: str):
    """Cut short, changed, or so well packed that it would fill the memory."""
    body = pack_manifest(b"x" * 100_000)
    assert b"x" * 100_000 == unpack_manifest(body)
    changed = body[:20] + bytes(20) + body[40:]
    broken = {"cut": body[:-9], "changed": changed, "longer": body + b"\n"}.get(damage, body)

    with pytest.raises(InvalidManifest):
        unpack_manifest(broken, limit=99_999 if damage == "too large" else 100_000)


def test_what_is_rendered_parses_to_the_same():
    """The merged manifest is read by the runner as it was written, unknown fields included."""
    manifest = full(
        file("a", uid=1000, **{"class": "cache"}), {"path": "b", "kind": "symlink", "target": "a"}
    )

    assert manifest == Manifest.parse(manifest.render())
    assert b'"uid":1000' in manifest.render()
    assert b'"class":"cache"' in manifest.render()


def test_packs_and_omitted_paths_are_told():
    """The worker knows which packs a manifest needs and what was left out."""
    manifest = full(file("a"), {"path": "big%20file", "kind": "omitted", "size": 5})

    assert unknown_packs(manifest, []) == {PACK}
    assert unknown_packs(manifest, [PACK]) == set()
    assert manifest.omitted == ("big file",)


@pytest.mark.parametrize(
    ("path", "inside"), [("a/b", True), ("..", False), ("a%2Fb", False), ("%C3%A9", True)]
)
def test_confinement(path: str, *, inside: bool):
    """One spelling, no way up."""
    assert inside == is_confined(path)
