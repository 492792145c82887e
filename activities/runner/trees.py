"""Walking the workspace for the search tools: what is skipped, and glob patterns as expressions."""

from __future__ import annotations

import os
import re
from typing import Iterator

SKIPPED = frozenset(
    {".git", "node_modules", ".venv", "venv", "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache"}
)
"""Directories that are searched only if they are named."""


def walk(start: str, *, named: str = "") -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Give (path relative to start, entry) of all files, directory by directory in order."""
    skipped = SKIPPED - set(re.split(r"[/{},]", named))
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(os.path.join(start, folder)) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError:
            continue
        below: list[str] = []
        for entry in entries:
            path = os.path.join(folder, entry.name)
            if not entry.is_dir(follow_symlinks=False):
                yield path, entry
            elif entry.name not in skipped:
                below.append(path)
        pending += reversed(below)


def expression(pattern: str) -> re.Pattern[str]:
    """Turn a glob into an expression for a relative path; without a slash it matches a name at any depth."""
    pattern = re.sub(r"^\./", "", pattern)
    parts = re.findall(r"\*\*/|\*\*|\*|\?|\[[!^]?\]?[^\]]*\]|[{},]|\\.|[^*?\[{},\\]+|.", pattern, re.DOTALL)
    depth, translated = 0, ""
    for part in parts:
        depth += (part == "{") - (part == "}" and depth > 0)
        translated += _translate(part, braced=depth > 0 or part == "}")
    try:
        return re.compile(("" if "/" in pattern else "(?:.*/)?") + translated + ")" * depth, re.DOTALL)
    except re.error:
        return re.compile(re.escape(pattern))


_PLAIN = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
_BRACES = {"{": "(?:", "}": ")", ",": "|"}


def _translate(part: str, *, braced: bool) -> str:
    if part in _PLAIN:
        return _PLAIN[part]
    if braced and part in _BRACES:
        return _BRACES[part]
    if part.startswith("[") and len(part) > 1:
        inner = part[1:-1].replace("\\", "\\\\")
        return "[" + ("^" + inner[1:] if inner[:1] in ("!", "^") else inner) + "]"
    return re.escape(part[1:] if part.startswith("\\") and len(part) > 1 else part)
