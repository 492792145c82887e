"""Makes bytes that programs wrote fit for the model: clean text, head and tail. Knows no tool."""

from __future__ import annotations

import os
import re

MAX_OUTPUT_CHARS = 30_000
"""The longest tool result, characters."""

_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[@-Z\\-_])"
)
_OVERWRITTEN = re.compile(r"[^\n]*\r(?!\n)")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def clean(data: bytes) -> str:
    """Decode, without terminal escapes, overwritten progress lines, control characters or lone surrogates."""
    text = _ESCAPES.sub("", data.decode("utf-8", "replace"))
    return _CONTROL.sub("", _OVERWRITTEN.sub("", text.replace("\r\n", "\n")))


def clean_name(path: bytes) -> str:
    """Show a file name that may be no UTF-8."""
    return path.decode("utf-8", "backslashreplace")


def shorten(text: str, *, limit: int, hint: str = "") -> tuple[str, bool]:
    """Keep head and tail of a text, at most `limit` characters with the word that says so."""
    if len(text) <= limit:
        return text, False
    cut = len(text) - limit
    note = f"\n\n[… about {cut} characters cut{hint} …]\n\n"
    half = max(0, limit - len(note)) // 2
    return text[:half] + note + text[len(text) - half :], True


def read_ends(path: str, *, limit: int, hint: str) -> tuple[str, bool]:
    """Read head and tail of a file as clean text, at most `limit` characters, however large the file is."""
    span = limit * 6
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size <= 2 * span:
            return shorten(clean(file.read()), limit=limit, hint=hint)
        head = clean(file.read(span))
        file.seek(size - span)
        tail = clean(file.read())
    note = f"\n\n[… about {size - limit} bytes cut{hint} …]\n\n"
    half = (limit - len(note)) // 2
    return head[:half] + note + tail[-half:], True
