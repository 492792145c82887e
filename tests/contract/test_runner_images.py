"""Images that read_file gives: whole ones only, of a size that a model takes."""

import base64
import struct
from pathlib import Path

import pytest

from tests.runner_box import Box
from tests.runner_images import png

JPEG = b"\xff\xd8\xff\xe0\0\x04ab\xff\xff\xc0\0\x0b\x08\0\x02\0\x03\x01\x01\x11\0\xff\xda\0\x02x\xff\xd9"
GIF = b"GIF89a" + struct.pack("<HH", 3, 2) + b"\0\0\0data\0;"


def webp(kind: bytes, body: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 12 + len(body)) + b"WEBP" + kind + struct.pack("<I", len(body)) + body


WEBPS = {
    "lossy": webp(b"VP8 ", b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 3, 2)),
    "lossless": webp(b"VP8L", b"\x2f" + struct.pack("<I", 2 | 1 << 14)),
    "extended": webp(b"VP8X", b"\0\0\0\0\2\0\0\1\0\0"),
}
WHOLE = {"png": png(), "jpeg": JPEG, "gif": GIF, **WEBPS}


@pytest.mark.parametrize("name", WHOLE)
def test_an_image_is_given_as_it_is(tmp_path: Path, name: str):
    """Its kind and size are told, its bytes come in base64, whatever the file is called."""
    box, content = Box(tmp_path), WHOLE[name]
    (box.workspace / "shot").write_bytes(content)
    answer = box.run("read_file", path="shot")
    kind = name if name in ("png", "jpeg", "gif") else "webp"

    assert (False, f"shot: image/{kind}, 3x2, {len(content)} bytes") == (answer["is_error"], answer["text"])
    assert (f"image/{kind}", 3, 2) == tuple(
        answer["image"][each] for each in ("media_type", "width", "height")
    )
    assert content == base64.b64decode(answer["image"]["data"])


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("cut", [2, 12])
def test_an_image_that_is_not_whole_is_no_image(tmp_path: Path, name: str, cut: int):
    """A provider refuses the whole conversation for one, so it is told in words."""
    box = Box(tmp_path)
    (box.workspace / "shot").write_bytes(WHOLE[name][:-cut])
    answer = box.run("read_file", path="shot")

    assert answer["is_error"]
    assert "is not whole" in answer["text"]


def test_a_damaged_image_is_noticed(tmp_path: Path):
    """The checksums of a PNG are held."""
    box, content = Box(tmp_path), bytearray(png())
    content[45] ^= 1
    (box.workspace / "shot.png").write_bytes(bytes(content))

    assert "is not whole" in box.run("read_file", path="shot.png")["text"]


@pytest.mark.parametrize("content", [png(2_001, 1), png() + b"\0" * (3 * 1024 * 1024)], ids=["wide", "heavy"])
def test_an_image_that_is_too_large_is_told_with_what_to_do(tmp_path: Path, content: bytes):
    """In pixels or in bytes."""
    box = Box(tmp_path)
    (box.workspace / "shot.png").write_bytes(content)
    answer = box.run("read_file", path="shot.png")

    assert answer["is_error"]
    assert "Make a smaller copy" in answer["text"]
