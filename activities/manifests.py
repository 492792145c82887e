"""Manifests: which files a restore point has, and in which pack each lies. Pure; no I/O.

A delta names what changed since its parent and, besides, one slice of all paths whole, the next one in turn.
So the newest `SLICES` manifests hold the whole state, and no full one is needed after the first.

A manifest comes out of a sandbox, so nothing in it is believed: names are confined to the workspace,
digests are well-formed and no entry lies under another that is not a folder.
"""

import gzip
import json
import zlib
from collections.abc import Iterable, Sequence
from typing import Annotated, Final, Literal, Self, TypeVar
from urllib.parse import quote_from_bytes, unquote_to_bytes

from pydantic import BaseModel, ConfigDict, Field, ValidationError

ROOT: Final = "."
"""The workspace itself, in a manifest."""
SAFE: Final = "/+@,="
"""Stand for themselves in a name, besides letters, digits and `_.-~`."""
MAX_MANIFEST_BYTES: Final = 512 * 1024 * 1024
"""The largest manifest that is read."""
SLICES: Final = 16
"""Into how many slices the paths are divided, by the checksum of their names."""
_Line = TypeVar("_Line", bound=BaseModel)
_GZIP = b"\x1f\x8b"
_DIGEST = r"^[0-9a-f]{64}$"
Digest = Annotated[str, Field(pattern=_DIGEST)]


class InvalidManifest(Exception):
    """A manifest that no restore may trust."""


class Header(BaseModel):
    """The first line."""

    model_config = ConfigDict(frozen=True, extra="allow")

    format: Literal[1]
    number: Annotated[int, Field(ge=0)]
    """Of the capture, in its sandbox."""
    parent: str | None = None
    """Key of the manifest that a delta builds on."""
    kind: Literal["full", "delta"]
    slice: Annotated[int | None, Field(ge=0, lt=SLICES)] = None
    """Which slice of all paths it names whole, besides what changed; none: no slice."""
    entries: Annotated[int, Field(ge=0)]
    """How many lines follow: a manifest that was cut short is noticed."""


class Entry(BaseModel):
    """One path."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)

    path: Annotated[str, Field(min_length=1)]
    """Percent-encoded bytes, relative to the workspace."""
    kind: Literal["file", "dir", "symlink", "hardlink", "omitted", "gone"]
    mode: int = 0
    mtime_ns: int = 0
    size: Annotated[int, Field(ge=0)] = 0
    sha256: Digest | None = None
    pack: Digest | None = None
    offset: Annotated[int, Field(ge=0)] | None = None
    length: Annotated[int, Field(ge=0)] | None = None
    target: str | None = None
    """Of a symlink: where it points; of a hard link: the path it is the same as."""
    torn: bool = False
    """The file changed while it was read."""
    partial: bool = False
    """What the folder holds is not all known."""
    class_: Annotated[Literal["source", "cache"] | None, Field(alias="class")] = None


class Manifest(BaseModel):
    """A header and its entries by path."""

    model_config = ConfigDict(frozen=True)

    header: Header
    entries: dict[str, Entry]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read and check a manifest; raises InvalidManifest naming the line."""
        lines = data.splitlines()
        if not lines:
            raise InvalidManifest("The manifest is empty.")
        header = _line(Header, lines[0], number=1)
        entries: dict[str, Entry] = {}
        for number, line in enumerate(lines[1:], start=2):
            entry = _line(Entry, line, number=number)
            _check(entry, number)
            if entry.path in entries:
                raise InvalidManifest(f"Line {number} names {entry.path!r} a second time.")
            entries[entry.path] = entry
        if header.entries != len(entries):
            raise InvalidManifest(f"The manifest has {len(entries)} of {header.entries} entries.")
        manifest = cls(header=header, entries=entries)
        if header.kind == "full":
            manifest.check_tree()
        return manifest

    def check_tree(self) -> None:
        """Raise InvalidManifest where an entry lies in no folder, or is the same as no file."""
        for entry in self.entries.values():
            parent = entry.path.rpartition("/")[0] or ROOT
            if entry.path != ROOT and self._kind(parent) != "dir":
                raise InvalidManifest(f"{entry.path!r} lies in {parent!r}, which is no folder.")
            if entry.kind == "hardlink" and self._kind(entry.target) != "file":
                raise InvalidManifest(f"{entry.path!r} is the same as {entry.target!r}, which is no file.")

    def _kind(self, path: str | None) -> str:
        found = self.entries.get(path or "")
        return found.kind if found else ""

    def apply(self, delta: "Manifest") -> "Manifest":
        """Give this full manifest as it is after a delta.

        Raises InvalidManifest, also for a slice out of turn: without it the newest manifests are no state.
        """
        last, part = self.header.slice, delta.header.slice
        if last is None or part != (last + 1) % SLICES:
            raise InvalidManifest(f"It names slice {part} of all paths after slice {last}.")
        merged = self.followed_by(delta)
        merged.check_tree()
        return merged

    def followed_by(self, later: "Manifest") -> "Manifest":
        """Give what is known after both; what the slice of the later one does not name is gone."""
        part = later.header.slice
        before = self.entries.items()
        entries = {path: entry for path, entry in before if part is None or slice_of(path) != part}
        entries |= later.entries
        kept = {path: entry for path, entry in entries.items() if entry.kind != "gone"}
        header = later.header.model_copy(update={"kind": "full", "parent": None, "entries": len(kept)})
        return Manifest(header=header, entries=kept)

    def changed_since(self, before: "Manifest | None") -> int:
        """Count the paths that it names otherwise than an earlier state does."""
        if before is None:
            return len(self.entries)
        return sum(before.entries.get(path) != entry for path, entry in self.entries.items())

    @property
    def packs(self) -> set[str]:
        """Digests of every pack that an entry names."""
        return {entry.pack for entry in self.entries.values() if entry.pack}

    @property
    def omitted(self) -> tuple[str, ...]:
        """Names of the paths that were not kept, or not with all that is in them."""
        names = (entry.path for entry in self.entries.values() if entry.kind == "omitted" or entry.partial)
        return tuple(unquote_to_bytes(name).decode("utf-8", "backslashreplace") for name in names)

    @property
    def files(self) -> int:
        """Files and links, folders not counted."""
        return sum(entry.kind in {"file", "symlink", "hardlink"} for entry in self.entries.values())

    def render(self) -> bytes:
        """Write it as the runner reads it: a line a path, sorted."""
        rows: list[BaseModel] = [self.header, *(self.entries[path] for path in sorted(self.entries))]
        texts = (
            json.dumps(
                row.model_dump(by_alias=True, exclude_unset=True), separators=(",", ":"), ensure_ascii=True
            )
            for row in rows
        )
        return ("\n".join(texts) + "\n").encode()


def merge(chain: Sequence[Manifest]) -> Manifest:
    """Give the newest state of a chain: a full manifest first, or as many deltas as hold all slices."""
    first = chain[0]
    if first.header.kind != "full" and {each.header.slice for each in chain} != set(range(SLICES)):
        raise InvalidManifest("The chain of manifests starts with no full one, and lacks a slice.")
    state = Manifest(header=first.header, entries={})
    for each in chain:
        state = state.followed_by(each)
    state.check_tree()
    return state


def pack_manifest(data: bytes) -> bytes:
    """Give a manifest as the bucket keeps it: a fifth of its size, the same bytes for the same manifest."""
    return gzip.compress(data, mtime=0)


def unpack_manifest(body: bytes, *, limit: int = MAX_MANIFEST_BYTES) -> bytes:
    """Give a manifest as it was, also one that was kept so.

    Raises InvalidManifest if it is damaged, does not end where it should, or is larger than `limit` bytes.
    """
    if not body.startswith(_GZIP):
        return body
    opened = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        data = opened.decompress(body, limit)
    except zlib.error as error:
        raise InvalidManifest(f"The manifest cannot be unpacked: {error}.") from None
    if not opened.eof or opened.unused_data:
        raise InvalidManifest(f"The manifest is cut short, has more after its end, or over {limit} bytes.")
    return data


def slice_of(path: str) -> int:
    """Give the slice that a path as it is spelt belongs to."""
    return zlib.crc32(unquote_to_bytes(path)) % SLICES


def unknown_packs(manifest: Manifest, known: Iterable[str]) -> set[str]:
    """Give the packs that a manifest names and nobody uploaded."""
    return manifest.packs - set(known)


def _line(model: type[_Line], line: bytes, *, number: int) -> _Line:
    try:
        return model.model_validate_json(line)
    except ValidationError as error:
        where = error.errors(include_url=False, include_input=False)[0]
        raise InvalidManifest(f"Line {number} of the manifest: {where['loc']}: {where['msg']}.") from None


def _check(entry: Entry, number: int) -> None:
    if not is_confined(entry.path) and not (entry.path == ROOT and entry.kind == "dir"):
        raise InvalidManifest(f"Line {number}: {entry.path!r} is not a path inside the workspace.")
    if entry.kind == "file" and (entry.sha256 is None or (entry.size and entry.pack is None)):
        raise InvalidManifest(f"Line {number}: {entry.path!r} has no digest or no pack.")
    if entry.kind == "hardlink" and not is_confined(entry.target or ""):
        raise InvalidManifest(f"Line {number}: {entry.path!r} links to outside the workspace.")
    if entry.kind == "symlink" and not entry.target:
        raise InvalidManifest(f"Line {number}: {entry.path!r} is a link to nowhere.")


def is_confined(path: str) -> bool:
    """Tell whether a path stays under its folder, and has the one spelling that duplicates are found by."""
    raw = unquote_to_bytes(path)
    if quote_from_bytes(raw, safe=SAFE) != path or b"\0" in raw:
        return False
    return all(part not in {b"", b".", b".."} for part in raw.split(b"/"))
