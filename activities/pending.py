"""What waits in a sandbox to be uploaded, as its runner says it."""

import base64
from collections.abc import Mapping
from typing import Any, NamedTuple, NotRequired, TypedDict


class Pack(TypedDict):
    """One pack that waits in the sandbox."""

    sha256: str
    bytes: int
    content: NotRequired[str]
    """Base64; only of what is small."""


class Pending(NamedTuple):
    """What waits in the sandbox to be uploaded."""

    number: int
    """Of the newest capture; 0: nothing was captured since the last restore point."""
    packs: dict[str, Pack]
    sha256: str
    """Of the manifest to publish."""
    path: str
    """Where that manifest lies in the sandbox."""
    content: str
    """That manifest in base64, if it is small."""


def read_pending(answer: Mapping[str, Any]) -> Pending:
    """Read the answer of `pending`."""
    manifest: Mapping[str, Any] = answer["manifest"] or {}
    packs: list[Pack] = [pack for capture in answer["captures"] for pack in capture["packs"]]
    return Pending(
        number=int(manifest.get("number", 0)),
        packs={pack["sha256"]: pack for pack in packs},
        sha256=str(manifest.get("sha256", "")),
        path=str(manifest.get("path", "")),
        content=str(manifest.get("content", "")),
    )


def decode(content: str) -> bytes:
    """Decode base64 that came out of a sandbox; what is none has no digest that fits."""
    try:
        return base64.b64decode(content, validate=True)
    except ValueError:
        return b""
