"""What is known of a path: its row in the index, and how a row is spelt in a manifest."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from .failures import RunnerFailure

KINDS = frozenset({"file", "dir", "symlink", "hardlink", "omitted", "gone"})
META_FIELDS = 13
"""The first fields of a row: what a manifest says. The others are the index's own."""


class Row(NamedTuple):
    """One path; content lies at offset, length of a pack as one gzip member, empty content nowhere."""

    kind: str
    mode: int = 0
    mtime_ns: int = 0
    size: int = 0
    sha256: str = ""
    pack: str = ""
    offset: int = 0
    length: int = 0
    target: bytes = b""
    """Of a symlink what it holds, of a hardlink the path that it is the same file as."""
    uid: int = 0
    gid: int = 0
    same_as: bytes = b""
    """Of a symlink, the path of the symlink that it is a hard link of."""
    flag: str = ""
    """`torn`: the file changed while it was read; `partial`: what the directory holds is not all known."""
    ctime_ns: int = 0
    """0: not trusted, the content is read again next time."""
    inode: int = 0


FLAGS = ("torn", "partial")

_CACHE = re.compile(
    rb"(?:^|/)(?:node_modules|\.venv|venv|__pycache__|\.pytest_cache|\.mypy_cache|\.ruff_cache"
    rb"|\.next/cache|\.turbo|\.parcel-cache|\.tox|\.nox)/"
)


def is_cache(path: bytes, *, directory: bool = False) -> bool:
    """Tell whether a path is what an install or a tool makes again."""
    return _CACHE.search(path + b"/" if directory else path) is not None


_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._-~+@,=")
_QUOTED = [chr(byte) if byte in _SAFE else f"%{byte:02X}" for byte in range(256)]
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")


def quote(path: bytes) -> str:
    """Percent-encode a name's bytes; names need not be UTF-8."""
    return "".join([_QUOTED[byte] for byte in path])


def unquote(text: str) -> bytes:
    """Give the bytes of a percent-encoded name."""
    return _ESCAPE.sub(lambda match: bytes([int(match.group(1), 16)]), text.encode("ascii"))


def spell(path: bytes, row: Row) -> str:
    """Give the manifest's line of a path: only the fields that its kind has, in a fixed order."""
    fields: dict[str, Any] = {"path": quote(path), "kind": row.kind}
    if row.kind != "gone":
        fields.update(mode=row.mode, mtime_ns=row.mtime_ns, uid=row.uid, gid=row.gid)
        fields["class"] = "cache" if is_cache(path, directory=row.kind == "dir") else "source"
    if row.kind in ("file", "hardlink", "omitted"):
        fields["size"] = row.size
    if row.sha256:
        fields["sha256"] = row.sha256
    if row.pack:
        fields.update(pack=row.pack, offset=row.offset, length=row.length)
    if row.kind in ("symlink", "hardlink"):
        fields["target"] = quote(row.target)
    if row.same_as:
        fields["same_as"] = quote(row.same_as)
    if row.flag:
        fields[row.flag] = True
    return json.dumps(fields, separators=(",", ":"))


def parse(line: bytes) -> tuple[bytes, Row]:
    """Read a manifest's line.

    Raises RunnerFailure if it is damaged, or its path could lead outside the restored directory.
    """
    try:
        given: dict[str, Any] = json.loads(line)
        path, kind = unquote(given["path"]), given["kind"]
        names = ("mode", "mtime_ns", "size", "sha256", "pack", "offset", "length", "uid", "gid")
        links = {n: unquote(given[n]) for n in ("target", "same_as") if n in given}
        flag = next((name for name in FLAGS if given.get(name)), "")
        row = Row(kind, **links, flag=flag, **{n: given[n] for n in names if n in given})
    except (ValueError, KeyError, TypeError) as error:
        raise RunnerFailure("invalid_manifest", f"A manifest line is damaged: {error}") from None
    for name in (path, row.target) if kind == "hardlink" else (path,):
        _check_inside(name)
    if kind not in KINDS:
        raise RunnerFailure("invalid_manifest", f"A manifest line has the unknown kind {kind!r}.")
    return path, row


def _check_inside(path: bytes) -> None:
    parts = path.split(b"/")
    if path != b"." and (b"\0" in path or any(part in (b"", b".", b"..") for part in parts)):
        raise RunnerFailure(
            "invalid_manifest", f"A manifest names the path {quote(path)!r}, which is unsafe."
        )
