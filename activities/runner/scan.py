"""Finds everything below a directory: one lstat a path, nothing opened."""

from __future__ import annotations

import os
from typing import NamedTuple

from .rows import is_cache


class Found(NamedTuple):
    """What a scan saw."""

    stats: dict[bytes, os.stat_result]
    """By path relative to the root, which itself is b'.'."""
    omitted: list[bytes]
    """Directories whose entries are not all there: unreadable, or past the limit."""
    closed: list[bytes]
    """Those of them that cannot be read."""


def scan(root: bytes, *, most: int) -> Found:
    """Stat a tree, caches last, so that the limit of entries meets them first."""
    found = Found({b".": os.lstat(root)}, [], [])
    folders: list[bytes] = [b""]
    caches: list[bytes] = []
    while folders or caches:
        folder = folders.pop() if folders else caches.pop()
        for path in _scan_folder(root, folder, found, most=most):
            (caches if is_cache(path, directory=True) else folders).append(path)
    return found


def _scan_folder(root: bytes, folder: bytes, found: Found, *, most: int) -> list[bytes]:
    """Stat a directory's entries; gives its directories."""
    below: list[bytes] = []
    prefix = folder + b"/" if folder else b""
    try:
        with os.scandir(root + b"/" + folder) as entries:
            for entry in entries:
                if len(found.stats) >= most:
                    found.omitted.append(folder or b".")
                    break
                path = prefix + entry.name
                try:
                    found.stats[path] = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    below.append(path)
    except (FileNotFoundError, NotADirectoryError):
        found.stats.pop(folder, None)
    except OSError:  # forbidden, or a path longer than the system takes
        found.omitted.append(folder or b".")
        found.closed.append(folder or b".")
    return below
