"""The bodies of multipart uploads; knows no file and no HTTP beyond the content type."""

from dataclasses import dataclass
from email.message import Message


@dataclass(frozen=True)
class Part:
    """One uploaded file."""

    filename: str
    content: bytes


def parts_of(body: bytes, *, content_type: str) -> list[Part]:
    """Split a multipart/form-data body into its `file` parts.

    Raises:
        ValueError: there is no boundary or no file in it.

    """
    boundary = _parameter(content_type, "boundary")
    if not boundary:
        raise ValueError("the multipart upload names no boundary")
    # Every part but the preamble follows a delimiter; the last delimiter ends in two dashes.
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary.encode())[1:]
    parts = [_part(piece) for piece in pieces if not piece.startswith(b"--")]
    files = [part for part in parts if part is not None]
    if not files:
        raise ValueError("the multipart upload holds no file")
    return files


def _part(piece: bytes) -> Part | None:
    head, _, content = piece.partition(b"\r\n\r\n")
    for line in head.decode("utf-8", "surrogateescape").split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-disposition" and _parameter(value, "name") == "file":
            return Part(filename=_parameter(value, "filename"), content=content)
    return None


def _parameter(value: str, name: str) -> str:
    message = Message()
    message["content-type"] = value.strip().replace("form-data;", "form/data;", 1)
    found = message.get_param(name)
    return found if isinstance(found, str) else ""
