"""The rules of `activities/manifests.py`: what comes out of a sandbox is not believed."""

import json

import pytest

from activities.manifests import InvalidManifest, Manifest, is_confined, merge, unknown_packs

PACK = "a" * 64
DIGEST = "b" * 64
ROOT = {"path": ".", "kind": "dir", "mode": 493}


def file(path: str, **fields: object) -> dict[str, object]:
    given = {"path": path, "kind": "file", "mode": 420, "mtime_ns": 1, "size": 3}
    return {**given, "sha256": DIGEST, "pack": PACK, "offset": 0, "length": 23, **fields}


def folder(path: str) -> dict[str, object]:
    return {"path": path, "kind": "dir", "mode": 493}


def text(*rows: dict[str, object], **header: object) -> bytes:
    first = {"format": 1, "number": 1, "parent": None, "kind": "full", "entries": len(rows), **header}
    return b"".join(json.dumps(row).encode() + b"\n" for row in (first, *rows))


def full(*rows: dict[str, object], number: int = 1) -> Manifest:
    return Manifest.parse(text(ROOT, *rows, number=number))


def delta(*rows: dict[str, object], number: int = 2) -> Manifest:
    return Manifest.parse(text(*rows, kind="delta", parent="key", number=number))


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
    with pytest.raises(InvalidManifest):
        full(folder("d"), file("d/x")).apply(delta({"path": "d", "kind": "gone"}))


def test_a_chain_must_start_whole():
    """A delta alone is no state."""
    with pytest.raises(InvalidManifest):
        merge([delta(file("x"))])


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
