"""`pending`: what is to be uploaded; and forgetting it once the worker says that it is committed."""

from __future__ import annotations

import binascii
import os
import re
import time
from contextlib import suppress
from typing import Any

from . import index
from .failures import RunnerFailure
from .manifest import SLICES, write_manifest
from .published import Published, read_published, write_published
from .state import State, locked, open_state, read_json, remove, write_json

OLD_OUTPUT_BYTES = 1024 * 1024
OLD_OUTPUT_SECONDS = 6 * 3600


def pending(request: dict[str, Any]) -> dict[str, Any]:
    """Answer with the packs to upload and the manifest to publish (its file, digest and size).

    The manifest's file is compressed, its digest is of what it was before. `full` gives one though nothing
    changed; `whole` gives a full one. Where all have no more than `inline` bytes together, each carries its
    content, in base64.
    Raises RunnerFailure `lost_packs` if a pack that is neither uploaded nor here is needed.
    """
    state = open_state(request)
    hear(request)
    with locked(state.path("captures", "lock")):
        now, last = index.load(index.current_path(state)), read_published(state)
        full = bool(request.get("full"))
        if not now.number or (now.number == last.number and not full):
            return {"captures": [], "manifest": None}
        base = index.load(index.published_path(state))
        base = base if base.number == last.number else index.EMPTY
        captures = _captures(state, last, now, base)
        row = _build(state, now, base, last, full=full or bool(request.get("whole")))
        _enclose([*(pack for one in captures for pack in one["packs"]), row], most=request.get("inline", 0))
        return {"captures": captures, "manifest": row}


def hear(request: dict[str, Any]) -> None:
    """Take in a request's `published`, if any: the capture that was committed, its manifest's digest and key.

    Its packs are forgotten and the next delta builds on it. Idempotent; one that is not of the captures that
    are here, as the state was deleted since, is not believed.
    """
    told = request.get("published")
    if not told:
        return
    state, number = open_state(request), int(told["number"])
    with locked(state.path("captures", "lock")):
        before, now = read_published(state), index.load(index.current_path(state))
        row = read_json(state.path("captures", f"manifest-{number}.json")) or {}
        if number < before.number:
            return
        if row.get("sha256") == told["sha256"]:
            with suppress(FileNotFoundError):  # an attempt that died, or met a full disk, had come so far
                os.replace(state.path("captures", f"manifest-{number}.index"), index.published_path(state))
            write_published(state, Published(number, told["key"], row["slice"]))
            _sweep(state, number)
        elif number > now.number:
            write_published(state, Published(number, told["key"]))


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
    full = full or not base.number or published.slice < 0
    path = state.path("captures", f"manifest-{now.number}")
    parent, part = (None, 0) if full else (published.key, (published.slice + 1) % SLICES)
    digest = write_manifest(path, now, parent=parent, base={} if full else base.rows, part=part)
    kept = f"{path}.index"
    remove(kept)
    os.link(index.current_path(state), kept)
    row: dict[str, Any] = {
        "number": now.number,
        "path": path,
        "sha256": digest,
        "bytes": os.path.getsize(path),
        "kind": "full" if full else "delta",
        "slice": part,
        "parent": parent,
    }
    write_json(f"{path}.json", row)
    return row


def _enclose(files: list[dict[str, Any]], *, most: int) -> None:
    if sum(file["bytes"] for file in files) > most:
        return
    for file in files:
        with open(file["path"], "rb") as body:
            file["content"] = binascii.b2a_base64(body.read(), newline=False).decode("ascii")


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
