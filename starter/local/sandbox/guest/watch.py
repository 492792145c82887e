"""Watching a directory by comparing scans of it; renames show as a removal and a creation."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from e2b.envd.filesystem.filesystem_pb import EntryInfo, EventType, FilesystemEvent, WatchDirResponse
from protobuf import Oneof

from starter.local.sandbox.guest.entries import describe

SCAN_SECONDS = 0.2
KEEPALIVE_SCANS = 200

Seen = dict[str, tuple[int, int, int, int]]
"""Relative name to inode, size, time of change of the content, and mode."""


async def events_below(
    root: Path, *, recursive: bool, include_entry: bool, seconds: float | None
) -> AsyncIterator[WatchDirResponse]:
    """Yield a start, then every change below a directory, with keepalives when it is quiet.

    Raises:
        TimeoutError: `seconds` passed.

    """
    clock = asyncio.get_running_loop().time
    deadline = None if seconds is None else clock() + seconds
    before = await asyncio.to_thread(_scan, root, recursive=recursive)
    yield WatchDirResponse(event=Oneof("start", WatchDirResponse.StartEvent()))
    quiet = 0
    while deadline is None or clock() < deadline:
        await asyncio.sleep(SCAN_SECONDS)
        after = await asyncio.to_thread(_scan, root, recursive=recursive)
        quiet += 1
        for name, kind in _changes(before, after):
            quiet = 0
            entry = _entry(root / name) if include_entry else None
            event = FilesystemEvent(name=name, type=kind, entry=entry)
            yield WatchDirResponse(event=Oneof("filesystem", event))
        if quiet >= KEEPALIVE_SCANS:
            quiet = 0
            yield WatchDirResponse(event=Oneof("keepalive", WatchDirResponse.KeepAlive()))
        before = after
    raise TimeoutError


def _changes(before: Seen, after: Seen) -> Iterator[tuple[str, EventType]]:
    for name in before.keys() - after.keys():
        yield name, EventType.REMOVE
    for name in sorted(after.keys() - before.keys()):
        yield name, EventType.CREATE
        yield name, EventType.WRITE
    for name in sorted(before.keys() & after.keys()):
        if before[name][:3] != after[name][:3]:
            yield name, EventType.WRITE
        elif before[name] != after[name]:
            yield name, EventType.CHMOD


def _scan(root: Path, *, recursive: bool) -> Seen:
    seen: Seen = {}
    pending = [root]
    while pending:
        try:
            found = list(os.scandir(pending.pop()))
            for entry in found:
                status = entry.stat(follow_symlinks=False)
                name = os.path.relpath(entry.path, root)
                times = 0 if entry.is_dir(follow_symlinks=False) else status.st_mtime_ns
                size = 0 if entry.is_dir(follow_symlinks=False) else status.st_size
                seen[name] = (status.st_ino, size, times, status.st_mode)
                if recursive and entry.is_dir(follow_symlinks=False):
                    pending.append(Path(entry.path))
        except OSError:
            continue
    return seen


def _entry(path: Path) -> EntryInfo | None:
    try:
        return describe(path)
    except OSError:
        return None
