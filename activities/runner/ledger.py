"""Which files the model has seen, by the hash of their content: the gate before an edit."""

from __future__ import annotations

import hashlib
import os

from .outcomes import Refusal
from .state import State, read_text, write_atomic


def digest(content: bytes) -> str:
    """Give the sha256 of a content."""
    return hashlib.sha256(content).hexdigest()


def note_seen(state: State, real: str, content_digest: str) -> None:
    """Remember that the model knows this content of a file."""
    write_atomic(_path(state, real), content_digest.encode())


def require_seen(state: State, real: str, content_digest: str) -> None:
    """Let a change pass only if the model knows what it changes.

    Raises Refusal if the file was not read, or holds other content now.
    """
    seen = read_text(_path(state, real))
    if not seen:
        raise Refusal("File has not been read yet. Read it first before writing to it.")
    if seen != content_digest:
        raise Refusal("File has been unexpectedly modified. Read it again before attempting to write it.")


def _path(state: State, real: str) -> str:
    return state.path("seen", digest(os.fsencode(real))[:32])
