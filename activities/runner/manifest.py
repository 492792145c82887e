"""Manifests: a header line, then a line a path, sorted. They outlive the runner; readers check every line."""

from __future__ import annotations

import json
import os
import time
from typing import Any, Iterator, cast

from .failures import RunnerFailure
from .index import Index
from .rows import META_FIELDS, Row, parse, spell

FORMAT = 1


def write_manifest(path: str, now: Index, *, parent: str | None, base: dict[bytes, Row]) -> None:
    """Write what `now` has that `base` has not; with no parent, all of it."""
    rows = sorted(_differences(base, now.rows))
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now.created))
    header = {
        "format": FORMAT,
        "number": now.number,
        "parent": parent,
        "kind": "delta" if parent is not None else "full",
        "created": created,
        "entries": len(rows),
    }
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(temporary, "w", encoding="ascii") as file:
        file.write(json.dumps(header, separators=(",", ":")) + "\n")
        file.writelines(spell(name, row) + "\n" for name, row in rows)
    os.replace(temporary, path)


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
        lines = file.read().splitlines()
    try:
        header = json.loads(lines[0])
    except (IndexError, ValueError):
        header = None
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
