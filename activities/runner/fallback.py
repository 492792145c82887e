"""Search without ripgrep: Python's expressions over the text files of the workspace."""

from __future__ import annotations

import os
import re
from typing import Any, Iterator, NamedTuple

from .confine import read_regular
from .deadline import SEARCH_SECONDS, deadline
from .kinds import globs_of
from .outcomes import Refusal
from .state import State
from .text import clean
from .trees import expression, is_binary, walk

_NAMED_CLASSES = {
    "alpha": "a-zA-Z",
    "digit": "0-9",
    "alnum": "a-zA-Z0-9",
    "upper": "A-Z",
    "lower": "a-z",
    "space": r"\s",
    "word": r"\w",
    "xdigit": "0-9A-Fa-f",
    "punct": r"!-/:-@\[-`{-~",
    "blank": r" \t",
}


class _Text(NamedTuple):
    """A file and what of it matches."""

    name: str
    lines: list[str]
    hits: list[int]
    """Lines that a match touches, from 0."""
    total: int
    """Matching lines; matches where a match may span lines."""


def search(state: State, request: dict[str, Any], start: str, context: tuple[int, int]) -> Iterator[str]:
    """Give the lines that ripgrep would, with so many before and after a match in content mode.

    Raises Refusal for a bad expression or when the time is over.
    """
    wanted = _compile(request)
    context = context if request.get("mode") == "content" else (0, 0)
    separated = False
    with deadline(SEARCH_SECONDS):
        for name in _names(state, request, start):
            found = _look(state, request, name, wanted)
            if found is None or not found.hits:
                continue
            if any(context) and separated:
                yield "--"
            separated = True
            yield from _show(found, request.get("mode", "files"), context)


def _compile(request: dict[str, Any]) -> re.Pattern[str]:
    """Compile the pattern, with what ripgrep writes in another way."""
    pattern = re.sub(r"\(\?<(?=[A-Za-z_])", "(?P<", request["pattern"]).replace(r"\z", r"\Z")
    pattern = re.sub(r"\[:(\w+):\]", lambda named: _NAMED_CLASSES.get(named.group(1), named.group()), pattern)
    flags = re.IGNORECASE if request.get("ignore_case") else 0
    flags |= re.MULTILINE if request["spans"] else 0
    try:
        return re.compile(pattern, flags | (re.DOTALL if request.get("multiline") else 0))
    except (re.error, RecursionError, OverflowError) as error:
        raise Refusal(
            f"The search failed: {error}. There is no ripgrep here: write it as Python's re takes it."
        ) from None


def _names(state: State, request: dict[str, Any], start: str) -> Iterator[str]:
    root = os.path.join(state.workspace, start)
    if not os.path.isdir(root):
        yield start
        return
    glob: str = request["glob"]
    # As with ripgrep, a glob that takes files in goes before the type.
    kinds = globs_of(request.get("type") or "") if glob.startswith("!") or not glob else []
    of_type = expression("{" + ",".join(kinds) + "}") if kinds else None
    wanted = expression(glob.lstrip("!").rstrip("/" if glob.startswith("!") else "") or "**")
    for relative, _ in walk(root, named=f"{start}/{glob}"):
        path = os.path.normpath(os.path.join(start, relative))
        matches = _lies_in(wanted, path, glob) if glob.startswith("!") else wanted.fullmatch(path)
        if bool(matches) != glob.startswith("!") and (of_type is None or of_type.fullmatch(path)):
            yield path


def _lies_in(wanted: re.Pattern[str], path: str, glob: str) -> bool:
    """Tell whether a path or a folder that it lies in matches; a glob that ends in / is of folders only."""
    parts = path.split("/")
    ends = range(1, len(parts) + (not glob.endswith("/")))
    return any(wanted.fullmatch("/".join(parts[:end])) for end in ends)


def _look(state: State, request: dict[str, Any], name: str, wanted: re.Pattern[str]) -> _Text | None:
    try:
        content = read_regular(os.path.join(state.workspace, name), name)
    except Refusal:
        return None
    if is_binary(content):
        return None
    text = _decode(content).replace("\r\n", "\n")
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    if request["spans"]:
        hits, count = _spans(text, wanted)
    else:
        hits = [number for number, line in enumerate(lines) if wanted.search(line)]
        count = len(hits)
    return _Text(clean(os.fsencode(name)), lines, [hit for hit in hits if hit < len(lines)], count)


def _decode(content: bytes) -> str:
    marked = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    return content.decode("utf-16" if marked else "utf-8-sig", "replace")


def _spans(text: str, wanted: re.Pattern[str]) -> tuple[list[int], int]:
    """Give the lines that matches touch, and how many matches there are."""
    touched: set[int] = set()
    count, line, seen = 0, 0, 0
    for match in wanted.finditer(text):
        if match.start() == len(text) and text.endswith("\n"):
            break  # after the last line end there is no line
        count += 1
        line += text.count("\n", seen, match.start())
        seen = match.start()
        last = max(match.start(), match.end() - 1)
        touched.update(range(line, line + text.count("\n", seen, last) + 1))
    return sorted(touched), count


def _show(found: _Text, mode: str, context: tuple[int, int]) -> Iterator[str]:
    if mode == "files":
        yield found.name
    elif mode == "count":
        yield f"{found.name}:{found.total}"
    else:
        yield from _content(found, context)


def _content(found: _Text, context: tuple[int, int]) -> Iterator[str]:
    marked, last = set(found.hits), -1
    before, after = context
    around = {near for hit in found.hits for near in range(max(0, hit - before), hit + after + 1)}
    for number in sorted(around):
        if number >= len(found.lines):
            return
        if any(context) and last >= 0 and number > last + 1:
            yield "--"
        last = number
        sign = ":" if number in marked else "-"
        line = clean(found.lines[number].encode("utf-8", "replace"))
        yield f"{found.name}{sign}{number + 1}{sign}{line}"
