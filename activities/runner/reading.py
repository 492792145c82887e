"""`read_file`: a text file with line numbers, as much as one answer holds; or an image."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from . import images
from .confine import read_regular, resolve
from .ledger import digest, note_seen
from .outcomes import Refusal
from .state import open_state
from .text import MAX_OUTPUT_CHARS, clean

MAX_LINES = 2_000
"""Lines returned if the request does not say."""
MAX_LINE_CHARS = 2_000
"""Where a line is cut."""


def read_file(request: dict[str, Any]) -> dict[str, Any]:
    """Answer with numbered lines; the model may edit the file from then on. An image comes in base64."""
    state = open_state(request)
    path = request["path"]
    try:
        real = resolve(state, path, logs=True)
        content = read_regular(real, path)
        image = images.look(content, path)
        if image is not None:
            return _show(content, path, image)
        text = _number(content, path, request.get("offset", 1), request.get("limit", MAX_LINES))
    except Refusal as refusal:
        return {"text": str(refusal), "is_error": True}
    note_seen(state, real, digest(content))
    return {"text": text, "is_error": False}


def _show(content: bytes, path: str, image: images.Image) -> dict[str, Any]:
    text = f"{path}: {image.media_type}, {image.width}x{image.height}, {len(content)} bytes"
    return {
        "text": text,
        "is_error": False,
        "image": {**image._asdict(), "data": b64encode(content).decode()},
    }


def _number(content: bytes, path: str, offset: int, limit: int) -> str:
    if b"\0" in content[:8192]:
        raise Refusal(f"{path} is a binary file of {len(content)} bytes. Look at it in bash (file, xxd).")
    lines = content.replace(b"\r\n", b"\n").split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    if not lines:
        return "(the file is empty)"
    if offset > len(lines):
        raise Refusal(f"The file has {len(lines)} lines; there is no line {offset}.")
    shown: list[str] = []
    room = MAX_OUTPUT_CHARS - 100
    for number, line in enumerate(lines[offset - 1 : offset - 1 + limit], start=offset):
        numbered = f"{number:6}\t{_cut(line)}"
        room -= len(numbered) + 1
        if room < 0:
            break
        shown.append(numbered)
    after = offset + len(shown)
    if after <= len(lines):
        shown.append(f"(lines {offset} to {after - 1} of {len(lines)}; read on with offset {after})")
    return "\n".join(shown)


def _cut(line: bytes) -> str:
    text = clean(line)
    return text if len(text) <= MAX_LINE_CHARS else text[:MAX_LINE_CHARS] + " [… line cut]"
