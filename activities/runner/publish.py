"""`pending`, `published`: what is to be uploaded, and forgetting it once it is committed."""

from __future__ import annotations

import hashlib
import os
import re
import time
from typing import Any

from . import index
from .failures import RunnerFailure
from .manifest import write_manifest
from .published import Published, read_published, write_published
from .state import State, locked, open_state, read_json, remove, write_json

FULL_EVERY = 16
"""Every 16th manifest is a full one."""
OLD_OUTPUT_BYTES = 1024 * 1024
OLD_OUTPUT_SECONDS = 6 * 3600


def pending(request: dict[str, Any]) -> dict[str, Any]:
    """Answer with the packs to upload and the manifest to publish (its file, digest and size).

    Raises RunnerFailure `lost_packs` if a pack that is neither uploaded nor here is needed.
    """
    state = open_state(request)
    with locked(state.path("captures", "lock")):
        now, published = index.load(index.current_path(state)), read_published(state)
        full = bool(request.get("full"))
        if not now.number or (now.number == published.number and not full):
            return {"captures": [], "manifest": None}
        base = index.load(index.published_path(state))
        base = base if base.number == published.number else index.EMPTY
        captures = _captures(state, published, now, base)
        row = _build(state, now, base, published, full=full)
        return {"captures": captures, "manifest": row}


def published(request: dict[str, Any]) -> dict[str, Any]:
    """Forget the packs up to a number; its manifest's key is the parent of the next delta. Idempotent."""
    state, number = open_state(request), int(request["number"])
    with locked(state.path("captures", "lock")):
        before = read_published(state)
        row = read_json(state.path("captures", f"manifest-{number}.json"))
        if row is not None and number >= before.number:
            os.replace(state.path("captures", f"manifest-{number}.index"), index.published_path(state))
            deltas = 0 if row["kind"] == "full" else before.deltas + 1
            write_published(state, Published(number, request["key"], deltas))
            remove(state.path("captures", f"manifest-{number}.json"))
        elif number > before.number:
            write_published(state, Published(number, request["key"], FULL_EVERY))
        _sweep(state, read_published(state).number)
        return {"number": read_published(state).number}


def _captures(
    state: State, published: Published, now: index.Index, base: index.Index
) -> list[dict[str, Any]]:
    needed = {row.pack for row in now.rows.values() if row.pack}
    captures: list[dict[str, Any]] = []
    for number in _numbers(state):
        row = read_json(state.path("captures", f"{number}.json")) or {}
        if published.number < number <= now.number:
            packs = [
                {**pack, "path": state.path("packs", pack["sha256"])}
                for pack in row.get("packs", ())
                if pack["sha256"] in needed
            ]
            captures.append({"number": number, "packs": packs})
    here = {pack["sha256"] for row in captures for pack in row["packs"]}
    lost = [pack for pack in here if not os.path.exists(state.path("packs", pack))]
    if base.number == published.number:
        lost += needed - here - {row.pack for row in base.rows.values()}
    if lost:
        raise RunnerFailure("lost_packs", f"{len(lost)} packs are neither published nor here: {lost[:5]}")
    return captures


def _build(
    state: State, now: index.Index, base: index.Index, published: Published, *, full: bool
) -> dict[str, Any]:
    """Write the manifest's file and keep the index that it describes."""
    full = full or not base.number or published.deltas >= FULL_EVERY - 1
    path = state.path("captures", f"manifest-{now.number}")
    parent = None if full else published.key
    write_manifest(path, now, parent=parent, base={} if full else base.rows)
    with open(path, "rb") as file:
        content = file.read()
    kept = f"{path}.index"
    remove(kept)
    os.link(index.current_path(state), kept)
    row: dict[str, Any] = {
        "number": now.number,
        "path": path,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "kind": "full" if full else "delta",
        "parent": parent,
    }
    write_json(f"{path}.json", row)
    return row


def _numbers(state: State) -> list[int]:
    names = os.listdir(os.path.dirname(state.path("captures", "index")))
    return sorted(int(name[:-5]) for name in names if re.fullmatch(r"\d+\.json", name))


def _sweep(state: State, number: int) -> None:
    """Delete what no later manifest can need: captures up to a number, their packs, and old large outputs."""
    kept: set[str] = set()
    for found in _numbers(state):
        path = state.path("captures", f"{found}.json")
        if found <= number:
            remove(path)
        else:
            kept |= {pack["sha256"] for pack in (read_json(path) or {}).get("packs", ())}
    folder = os.path.dirname(state.path("packs", "x"))
    for name in set(os.listdir(folder)) - kept:
        remove(os.path.join(folder, name))
    captures = os.path.dirname(state.path("captures", "index"))
    for name in os.listdir(captures):
        match = re.match(r"manifest-(\d+)", name)
        if match and int(match.group(1)) <= number:
            remove(os.path.join(captures, name))
    _sweep_outputs(state)


def _sweep_outputs(state: State) -> None:
    """Delete large outputs of calls that ended long ago; their results stay, as a claim is for ever."""
    folder = os.path.dirname(state.path("claims", "x"))
    for name in os.listdir(folder):
        output = os.path.join(folder, name, "output")
        try:
            found = os.stat(output)
        except OSError:
            continue
        if found.st_size > OLD_OUTPUT_BYTES and found.st_mtime < time.time() - OLD_OUTPUT_SECONDS:
            os.truncate(output, 0)
