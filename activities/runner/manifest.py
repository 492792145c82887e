"""Manifests: a header line, then a line a path, sorted; compressed. They outlive the runner.

A delta names what changed since its parent, and besides that one slice of all paths whole, the next one in
turn: `SLICES` deltas in a row hold everything, so no full manifest is needed between them.
Readers check every line.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import zlib
from typing import Any, Iterator, cast

from .failures import RunnerFailure
from .index import Index
from .rows import META_FIELDS, Row, parse, spell

FORMAT = 1
SLICES = 16
GZIP = 16 + zlib.MAX_WBITS


def slice_of(name: bytes) -> int:
    """Give the slice that a path belongs to, as the worker reckons it."""
    return zlib.crc32(name) % SLICES


def write_manifest(path: str, now: Index, *, parent: str | None, base: dict[bytes, Row], part: int) -> str:
    """Write what `now` has that `base` has not, and slice `part`; with no parent, all of it.

    Gives the digest of what is written, before it is compressed.
    """
    listed = {name: row for name, row in now.rows.items() if slice_of(name) == part}
    rows = sorted({**listed, **dict(_differences(base, now.rows))}.items())
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now.created))
    header = {
        "format": FORMAT,
        "number": now.number,
        "parent": parent,
        "kind": "delta" if parent is not None else "full",
        "slice": part,
        "created": created,
        "entries": len(rows),
    }
    lines = [json.dumps(header, separators=(",", ":")), *(spell(name, row) for name, row in rows)]
    content = ("\n".join(lines) + "\n").encode("ascii")
    packer = zlib.compressobj(wbits=GZIP)
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(temporary, "wb") as file:
        file.write(packer.compress(content) + packer.flush())
    os.replace(temporary, path)
    return hashlib.sha256(content).hexdigest()


def _differences(base: dict[bytes, Row], now: dict[bytes, Row]) -> Iterator[tuple[bytes, Row]]:
    for name, row in now.items():
        old = base.get(name)
        if old is None or old[:META_FIELDS] != row[:META_FIELDS]:
            yield name, row
    for name in base.keys() - now.keys():
        yield name, Row("gone")


def read_manifest(path: str) -> tuple[dict[str, Any], dict[bytes, Row]]:
    """Read a full manifest: its header and its rows.

    Raises RunnerFailure `invalid_manifest` if it is damaged, cut short, a delta or of another format.
    """
    with open(path, "rb") as file:
        packed = file.read()
    try:
        lines = zlib.decompress(packed, GZIP).splitlines()
        header = json.loads(lines[0])
    except (IndexError, ValueError, zlib.error):
        lines, header = [], None
    if not isinstance(header, dict):
        raise RunnerFailure("invalid_manifest", f"{path} does not begin with a manifest's header.")
    header = cast("dict[str, Any]", header)
    rows = dict(parse(line) for line in lines[1:])
    if header.get("format") != FORMAT:
        raise RunnerFailure(
            "invalid_manifest", f"This runner reads format {FORMAT}, not {header.get('format')}."
        )
    if header.get("kind") != "full" or header.get("entries") != len(rows):
        raise RunnerFailure("invalid_manifest", f"{path} is a delta, or is not complete: merge it first.")
    return header, rows
