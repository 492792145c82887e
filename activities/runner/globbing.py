"""`glob`: files by name, newest first."""

from __future__ import annotations

import os
from typing import Any

from .confine import require_text, resolve, shown
from .deadline import SEARCH_SECONDS, deadline
from .outcomes import Refusal
from .state import State, open_state
from .text import clean
from .trees import expression, walk

MAX_PATHS = 100
"""Paths returned."""


def glob(request: dict[str, Any]) -> dict[str, Any]:
    """Answer with at most 100 paths relative to the workspace, and how many there are."""
    state = open_state(request)
    try:
        with deadline(request.get("seconds", SEARCH_SECONDS)):
            found = _find(state, request["pattern"], request.get("path", "."))
    except Refusal as refusal:
        return {"text": str(refusal), "is_error": True}
    if not found:
        return {"text": "No files found", "is_error": False}
    lines = [clean(os.fsencode(path)) for _, path in sorted(found)[:MAX_PATHS]]
    if len(found) > MAX_PATHS:
        lines.append(f"(the newest {MAX_PATHS} of {len(found)} files; narrow the pattern or the path)")
    return {"text": "\n".join(lines), "is_error": False}


def _find(state: State, pattern: str, path: str) -> list[tuple[int, str]]:
    require_text(pattern, "pattern")
    if pattern.startswith("/") or ".." in pattern.split("/"):
        raise Refusal("The pattern must be relative, without '..'. Say where to look with path.")
    start = resolve(state, path)
    if not os.path.isdir(start):
        raise Refusal(f"Directory does not exist: {path}. Name a directory, or leave path out.")
    wanted = expression(pattern)
    return [
        (-entry.stat(follow_symlinks=False).st_mtime_ns, shown(state, os.path.join(start, relative)))
        for relative, entry in walk(start, named=f"{path}/{pattern}")
        if wanted.fullmatch(relative)
    ]
