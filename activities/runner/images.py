"""Images among the files: which kind, how large, and whether they are whole. Decodes none."""

from __future__ import annotations

import struct
import zlib
from contextlib import suppress
from typing import NamedTuple

from .outcomes import Refusal

MAX_IMAGE_BYTES = 3 * 1024 * 1024
MAX_SIDE = 2_000
"""Pixels; a model that is sent many images takes none that is longer or wider."""
_STARTS = {
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/gif": (b"GIF87a", b"GIF89a"),
    "image/webp": (b"RIFF",),
}
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
_NO_FRAME = frozenset({0xC4, 0xC8, 0xCC})


class Image(NamedTuple):
    """What is known of an image."""

    media_type: str
    width: int
    height: int


def look(content: bytes, path: str) -> Image | None:
    """Tell what image this is; none if it is no image that a model can be shown.

    Raises Refusal if it is too large or not whole, as a model's provider refuses the whole conversation then.
    """
    kind = next((kind for kind, starts in _STARTS.items() if content.startswith(starts)), "")
    if not kind or (kind == "image/webp" and content[8:12] != b"WEBP"):
        return None
    size = None
    with suppress(IndexError, struct.error):
        size = _SIZES[kind](content)
    if size is None or 0 in size:
        raise Refusal(
            f"{path} looks like an image ({kind}) but is not whole. Look at it in bash (file, xxd)."
        )
    if len(content) > MAX_IMAGE_BYTES or max(size) > MAX_SIDE:
        raise Refusal(
            f"{path} is an image of {size[0]}x{size[1]} pixels and {len(content)} bytes; at most {MAX_SIDE} "
            f"pixels a side and {MAX_IMAGE_BYTES} bytes can be shown. Make a smaller copy and read that."
        )
    return Image(kind, *size)


def _png(content: bytes) -> tuple[int, int] | None:
    """Read the size, and that all chunks are there as they were written."""
    at, kind = 8, b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", content, at)
        (check,) = struct.unpack_from(">I", content, at + 8 + length)
        if check != zlib.crc32(content[at + 4 : at + 8 + length]):
            return None
        at += 12 + length
    width, height = struct.unpack_from(">II", content, 16)
    return (width, height) if b"IDAT" in content else None


def _jpeg(content: bytes) -> tuple[int, int] | None:
    """Find the segment that begins the frame; the end must be marked."""
    at = 2
    while b"\xff\xd9" in content[-64:] and content[at] == 0xFF:  # noqa: PLR2004 - begins a marker
        marker = content[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME:  # noqa: PLR2004 - the frames
            height, width = struct.unpack_from(">HH", content, at + 5)
            return width, height
        if marker == 0xFF:  # noqa: PLR2004 - padding
            at += 1
        elif marker in _WITHOUT_LENGTH:
            at += 2
        else:
            at += 2 + struct.unpack_from(">H", content, at + 2)[0]
    return None


def _gif(content: bytes) -> tuple[int, int] | None:
    width, height = struct.unpack_from("<HH", content, 6)
    return (width, height) if content.rstrip(b"\0").endswith(b";") else None


def _webp(content: bytes) -> tuple[int, int] | None:
    length, kind = struct.unpack_from("<I", content, 4)[0], content[12:16]
    if length + 8 > len(content):
        return None
    if kind == b"VP8X":
        return 1 + int.from_bytes(content[24:27], "little"), 1 + int.from_bytes(content[27:30], "little")
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", content, 21)[0]
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", content, 26)
    return width & 0x3FFF, height & 0x3FFF


_SIZES = {"image/png": _png, "image/jpeg": _jpeg, "image/gif": _gif, "image/webp": _webp}
