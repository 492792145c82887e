"""Walking the workspace for the search tools: what is skipped, and glob patterns as expressions."""

from __future__ import annotations

import os
import re
from typing import Iterator

SKIPPED = frozenset(
    {
        *(".git", "node_modules", ".venv", "venv", "__pycache__", ".pytest_cache", ".mypy_cache"),
        *(".ruff_cache", ".next", ".turbo", ".parcel-cache", ".tox", ".nox"),
    }
)
"""Directories that are searched only if they are named."""


def skipped(named: str) -> frozenset[str]:
    """Give the directories that a search does not look into, whose path and pattern are these."""
    return SKIPPED - set(re.split(r"[/{},]", named))


def is_binary(content: bytes) -> bool:
    """Tell whether a content is no text; UTF-16 with its mark is."""
    return b"\0" in content and content[:2] not in (b"\xff\xfe", b"\xfe\xff")


def walk(start: str, *, named: str = "") -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Give (path relative to start, entry) of all files, sorted by the parts of their paths."""
    skip = skipped(named)
    pending = [("", iter(_entries(start)))]
    while pending:
        folder, entries = pending[-1]
        entry = next(entries, None)
        if entry is None:
            pending.pop()
            continue
        path = os.path.join(folder, entry.name)
        if not entry.is_dir(follow_symlinks=False):
            yield path, entry
        elif entry.name not in skip:
            pending.append((path, iter(_entries(os.path.join(start, path)))))


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: os.fsencode(entry.name))
    except OSError:
        return []


def expression(pattern: str) -> re.Pattern[str]:
    """Turn a glob into an expression for a relative path; without a slash it matches a name at any depth."""
    anchored = "/" in pattern
    pattern = re.sub(r"(?:\*\*/)+", "**/", re.sub(r"^\.?/", "", pattern))
    parts = re.findall(r"\*\*/|\*+|\?|\[[!^]?\]?[^\]]*\]|[{},]|\\.|[^*?\[{},\\]+|.", pattern, re.DOTALL)
    depth, translated = 0, ""
    for part in parts:
        depth += (part == "{") - (part == "}" and depth > 0)
        translated += _translate(part, braced=depth > 0 or part == "}")
    try:
        return re.compile(("" if anchored else "(?:.*/)?") + translated + ")" * depth, re.DOTALL)
    except (re.error, RecursionError, OverflowError):
        return re.compile(re.escape(pattern))


_PLAIN = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
_BRACES = {"{": "(?:", "}": ")", ",": "|"}


def _translate(part: str, *, braced: bool) -> str:
    if part in _PLAIN:
        return _PLAIN[part]
    if braced and part in _BRACES:
        return _BRACES[part]
    if part.startswith("**"):
        return ".*"
    if part.startswith("[") and len(part) > 1:
        inner = part[1:-1].replace("\\", "\\\\")
        return "[" + ("^" + inner[1:] if inner[:1] in ("!", "^") else inner) + "]"
    return re.escape(part[1:] if part.startswith("\\") and len(part) > 1 else part)
