"""`restore`: make the workspace what a full manifest says, out of packs, and nothing that a digest denies."""

from __future__ import annotations

import os
import re
import stat
import time
from contextlib import suppress
from typing import Any, NamedTuple

from . import index
from .capture import read_limits
from .claims import has_claims
from .contents import fetch, write_files
from .failures import RunnerFailure
from .manifest import read_manifest
from .published import Published, write_published
from .rows import Row, is_cache
from .state import State, locked, open_state

_STAGED = re.compile(r"\.r[0-9]+")
"""Names of half restored directories: none longer than `workspace`, or the longest paths would not fit."""
TICK_SECONDS = 0.02
"""Longer than any clock tick of a file system's timestamps: what is written later has another change time."""


class Plan(NamedTuple):
    """What is restored into which directory."""

    staging: bytes
    rows: dict[bytes, Row]
    skipped: int


def restore(request: dict[str, Any]) -> dict[str, Any]:
    """Restore a merged manifest, then make it the newest capture, so that the next one is incremental.

    Raises RunnerFailure `invalid_manifest`, `download`, `corrupt`, or `in_use` where calls were made already,
    as a request that was late would take them back; the workspace is then untouched.
    """
    state, started = open_state(request), time.monotonic()
    header, rows = read_manifest(request["manifest_path"])
    staging = os.path.join(os.path.dirname(state.workspace), f".r{os.getpid()}")
    plan = _plan(os.fsencode(staging), rows, source_only=bool(request.get("source_only")))
    with locked(state.path("captures", "lock")):
        if has_claims(state):
            raise RunnerFailure("in_use", "Calls were made in this sandbox: its files are not replaced.")
        _clear(state)
        try:
            os.mkdir(staging, 0o700)
            _fill(state, plan, request["packs"])
            restored = _trust(plan)
            _finish_directories(plan)
            time.sleep(max(TICK_SECONDS, read_limits(request).tick_ns / 1e9))
            _swap(state, staging)
        except BaseException:
            _remove_tree(staging)
            raise
        _remember(state, request, header, rows, restored)
    return {
        "files": len(plan.rows),
        "bytes": sum(row.size for row in plan.rows.values() if row.kind == "file"),
        "seconds": round(time.monotonic() - started, 3),
        "skipped": plan.skipped,
    }


def _plan(staging: bytes, rows: dict[bytes, Row], *, source_only: bool) -> Plan:
    """Choose what to restore; a link to a file that is left out becomes that file."""
    kept = {
        path: row
        for path, row in rows.items()
        if row.kind not in ("omitted", "gone")
        and not (source_only and is_cache(path, directory=row.kind == "dir"))
    }
    for path, row in sorted(kept.items()):
        if row.kind == "hardlink" and row.target not in kept:
            kept[path] = row._replace(kind="file", target=b"")
        elif row.same_as and not _is_same_symlink(row, kept.get(row.same_as)):
            kept[path] = row._replace(same_as=b"")
    for path in kept:
        parent = os.path.dirname(path) or b"."
        if path != b"." and (parent not in kept or kept[parent].kind != "dir"):
            raise RunnerFailure("invalid_manifest", f"{path!r} lies in no directory of the manifest.")
    return Plan(staging, kept, len(rows) - len(kept))


def _is_same_symlink(row: Row, first: Row | None) -> bool:
    """Tell whether both are symlinks that hold the same, and `first` is made before the other."""
    if first is None or not (row.kind == first.kind == "symlink"):
        return False
    return row.target == first.target and not first.same_as


def _fill(state: State, plan: Plan, packs: dict[str, dict[str, Any]]) -> None:
    """Make directories, files, hard links, symlinks."""
    for path in _directories(plan):
        if path != b".":
            os.mkdir(os.path.join(plan.staging, path), 0o700)
    by_pack: dict[str, dict[bytes, Row]] = {}
    for path, row in plan.rows.items():
        if row.kind == "file":
            by_pack.setdefault(row.pack, {})[path] = row
    for pack, rows in sorted(by_pack.items()):
        with fetch(state, pack, packs) as file:
            write_files(file, plan.staging, rows)
    for path, row in sorted(plan.rows.items(), key=lambda item: bool(item[1].same_as)):
        _link(plan.staging, path, row)


def _directories(plan: Plan) -> list[bytes]:
    return sorted(path for path, row in plan.rows.items() if row.kind == "dir")


def _finish_directories(plan: Plan) -> None:
    """Give directories their modes and times, deepest first: a closed one cannot be looked into any more."""
    for path in reversed(_directories(plan)):
        whole, row = os.path.join(plan.staging, b"" if path == b"." else path), plan.rows[path]
        _own(whole, row)
        os.chmod(whole, row.mode)
        os.utime(whole, ns=(row.mtime_ns, row.mtime_ns))


def _link(staging: bytes, path: bytes, row: Row) -> None:
    whole = os.path.join(staging, path)
    if row.kind == "hardlink":
        os.link(os.path.join(staging, row.target), whole, follow_symlinks=False)
    elif row.same_as:
        os.link(os.path.join(staging, row.same_as), whole, follow_symlinks=False)
    elif row.kind == "symlink":
        os.symlink(row.target, whole)
        _own(whole, row)
        os.utime(whole, ns=(row.mtime_ns, row.mtime_ns), follow_symlinks=False)


def _own(whole: bytes, row: Row) -> None:
    """Give a path its owner where that is allowed; who restores as another user owns it all."""
    if os.geteuid() == 0:
        with suppress(OSError):
            os.chown(whole, row.uid, row.gid, follow_symlinks=False)


def _trust(plan: Plan) -> dict[bytes, Row]:
    """Give the index's rows of what was just written: nothing but the runner has touched it yet."""
    trusted: dict[bytes, Row] = {}
    for path, row in plan.rows.items():
        if row.kind in ("file", "hardlink"):
            seen = os.lstat(os.path.join(plan.staging, path))
            row = row._replace(ctime_ns=seen.st_ctime_ns, inode=seen.st_ino)  # noqa: PLW2901 - the same row
        trusted[path] = row
    return trusted


def _clear(state: State) -> None:
    """Delete what earlier restores left: half restored directories, and workspaces that were put aside."""
    parent = os.path.dirname(state.workspace)
    for found in os.listdir(parent):
        if _STAGED.fullmatch(found):
            _remove_tree(os.path.join(parent, found))
    for found in os.listdir(state.directory):
        if found.startswith("aside-"):
            _remove_tree(os.path.join(state.directory, found))


def _remove_tree(path: str) -> None:
    """Delete a tree however deep, closed directories included, as package caches have them.

    What resists stays: a path that is too long where it lies now.
    """
    folders = [path]
    for folder in folders:
        with suppress(OSError):
            folders += _emptied(folder)
    for folder in reversed(folders):
        with suppress(OSError):
            os.rmdir(folder)


def _emptied(path: str) -> list[str]:
    """Delete a directory's files, or what is none, and give its directories."""
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        os.unlink(path)
        return []
    os.chmod(path, 0o700)
    folders: list[str] = []
    for name in os.listdir(path):
        whole = os.path.join(path, name)
        with suppress(OSError):
            if stat.S_ISDIR(os.lstat(whole).st_mode):
                folders.append(whole)
            else:
                os.unlink(whole)
    return folders


def _swap(state: State, staging: str) -> None:
    """Put the restored directory where the workspace is; what was there is kept aside until the next time."""
    aside = state.path(f"aside-{os.getpid()}-{int(time.time())}")
    try:
        os.rmdir(state.workspace)
    except OSError:
        os.rename(state.workspace, aside)
    os.rename(staging, state.workspace)


def _remember(
    state: State,
    request: dict[str, Any],
    header: dict[str, Any],
    rows: dict[bytes, Row],
    restored: dict[bytes, Row],
) -> None:
    """Replace all that was known of an earlier workspace; with the manifest's key, deltas can follow it."""
    for folder in ("captures", "packs"):
        directory = os.path.dirname(state.path(folder, "x"))
        for name in os.listdir(directory):
            if name != "lock":
                os.unlink(os.path.join(directory, name))
    number, key, part = header["number"], request.get("key") or "", header.get("slice", -1)
    if key:
        index.save(index.published_path(state), index.Index(number, 0.0, rows))
    write_published(state, Published(number, key, part))
    index.save(index.current_path(state), index.Index(number, time.time(), restored))
