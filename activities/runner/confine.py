"""Keeps the file tools inside the workspace, symlinks included; it does not confine bash."""

from __future__ import annotations

import os
import stat

from .outcomes import Refusal
from .state import State

MAX_FILE_BYTES = 10 * 1024 * 1024
"""The largest file that is read or written as text."""

MAX_DEPTH = 200
"""Folders that a path may name; the system makes deeper ones one by one, Python does not."""


def require_text(text: str, name: str) -> str:
    """Refuse what neither a path nor an argument of a program can hold."""
    if "\0" in text:
        raise Refusal(f"The {name} holds a NUL character, which it may not. Leave it out.")
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise Refusal(f"The {name} holds half of a surrogate pair. Write the whole character.") from None
    return text


def resolve(state: State, path: str, *, logs: bool = False) -> str:
    """Give the real path of a name relative to the workspace; `logs` allows the runner's output files too.

    Raises Refusal if it leads outside.
    """
    if require_text(path, "path").count("/") > MAX_DEPTH:
        raise Refusal(f"The path is more than {MAX_DEPTH} folders deep. Give a shorter one.")
    real = os.path.realpath(os.path.join(state.workspace, path))
    roots = [state.workspace, os.path.join(state.directory, "claims")] if logs else [state.workspace]
    if any((real + "/").startswith(root + "/") for root in roots):
        return real
    raise Refusal(f"{path} is outside the workspace {state.workspace}. Give a path inside it.")


def shown(state: State, real: str) -> str:
    """Name a file as the model does: relative to the workspace."""
    return os.path.relpath(real, state.workspace) if real.startswith(state.workspace) else real


def read_regular(real: str, path: str) -> bytes:
    """Read a whole regular file; never waits on a FIFO.

    Raises Refusal, worded for the model, if it is missing, no regular file, too large or forbidden.
    """
    try:
        descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise Refusal(f"File does not exist: {path}. Find it with glob.") from None
    except OSError as error:
        raise Refusal(f"{path} cannot be opened: {error.strerror}.") from None
    try:
        _require_readable(os.fstat(descriptor), path)
        with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as file:
            return file.readall()
    finally:
        os.close(descriptor)


def _require_readable(found: os.stat_result, path: str) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise Refusal(f"{path} is a directory. List it with glob, or with ls in bash.")
    if not stat.S_ISREG(found.st_mode):
        raise Refusal(f"{path} is no regular file (a FIFO, socket or device) and is not opened.")
    if found.st_size > MAX_FILE_BYTES:
        raise Refusal(
            f"{path} has {found.st_size} bytes, more than {MAX_FILE_BYTES}. "
            "Look at a part of it in bash (head, tail, sed -n) or search it with grep."
        )
