"""Search without ripgrep: Python's expressions over the text files of the workspace."""

from __future__ import annotations

import os
import re
import signal
from typing import Any, Iterator

from .confine import read_regular
from .outcomes import Refusal
from .state import State
from .text import clean
from .trees import expression, walk

MAX_COLUMNS = 500


def search(state: State, request: dict[str, Any], start: str, *, seconds: int) -> Iterator[str]:
    """Give the lines that ripgrep would; raises Refusal for a bad expression or when the time is over."""
    try:
        wanted = re.compile(request["pattern"], re.IGNORECASE if request.get("ignore_case") else 0)
    except re.error as error:
        raise Refusal(f"The search failed: the pattern is no regular expression: {error}") from None

    def stop(*_: object) -> None:
        raise Refusal(f"The search took more than {seconds} seconds. Narrow the path or the glob.")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        for name in _names(state, request, start):
            yield from _search_file(state, request, name, wanted)
    finally:
        signal.alarm(0)


def _names(state: State, request: dict[str, Any], start: str) -> Iterator[str]:
    root = os.path.join(state.workspace, start)
    if not os.path.isdir(root):
        yield start
        return
    only = expression(request.get("glob") or "**")
    for relative, _ in walk(root, named=start):
        if only.fullmatch(relative):
            yield os.path.normpath(os.path.join(start, relative))


def _search_file(state: State, request: dict[str, Any], name: str, wanted: re.Pattern[str]) -> Iterator[str]:
    try:
        content = read_regular(os.path.join(state.workspace, name), name)
    except Refusal:
        return
    if b"\0" in content:
        return
    lines = [line.rstrip("\r") for line in content.decode("utf-8", "replace").split("\n")]
    hits = [number for number, line in enumerate(lines) if wanted.search(line)]
    shown = clean(os.fsencode(name))
    mode = request.get("mode", "files")
    if hits and mode == "files":
        yield shown
    elif hits and mode == "count":
        yield f"{shown}:{len(hits)}"
    elif hits:
        yield from _content(shown, lines, hits, request.get("context", 0))


def _content(name: str, lines: list[str], hits: list[int], context: int) -> Iterator[str]:
    marked, last = set(hits), -1
    around = sorted({near for hit in hits for near in range(max(0, hit - context), hit + context + 1)})
    for number in around:
        if number >= len(lines):
            return
        if context and last >= 0 and number > last + 1:
            yield "--"
        last = number
        sign = ":" if number in marked else "-"
        yield f"{name}{sign}{number + 1}{sign}{clean(lines[number].encode('utf-8', 'replace'))[:MAX_COLUMNS]}"
