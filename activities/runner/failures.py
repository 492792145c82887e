"""How the runner fails: one exception, turned into the answer's `error` value."""

from __future__ import annotations

import errno


class RunnerFailure(Exception):
    """The command cannot be done; `kind` is for the worker, the message for a person.

    `begun`: a part of it may have taken effect, so that it must not be called undone.
    """

    def __init__(self, kind: str, message: str, *, begun: bool = False) -> None:
        super().__init__(message)
        self.kind = kind
        self.begun = begun


_KINDS = {
    errno.ENOSPC: "disk_full",
    errno.EDQUOT: "disk_full",
    # A file can grow no further where the disk is limited by the size of files.
    errno.EFBIG: "disk_full",
    errno.EMFILE: "too_many_files",
}


def describe_os_error(error: OSError) -> dict[str, str]:
    """Give the `error` value of an operating system's failure."""
    where = f" ({_name(error.filename)})" if error.filename else ""
    return {"kind": _KINDS.get(error.errno or 0, "os"), "message": f"{error.strerror or error}{where}"}


def _name(filename: object) -> str:
    return filename.decode("utf-8", "replace") if isinstance(filename, bytes) else str(filename)
