"""The data directory of one checkout: identity, secrets, logs and the short directory for sockets.

Knows nothing of the parts that live in it; it never chmods what it did not make.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import stat
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from starter.local.parts import PartFailed

# The kernel's limit for a socket address is 108 bytes on Linux and 104 on macOS, the file's name included.
LONGEST_SOCKET_DIRECTORY = 75


def write_private(path: Path, *, text: str) -> None:
    """Replace a file at once and whole, readable by its owner only."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def read_table(path: Path) -> dict[str, object]:
    """One JSON object from a file; an absent or torn file is an empty one."""
    try:
        content = cast("object", json.loads(path.read_text()))
    except (FileNotFoundError, ValueError):
        return {}
    return cast("dict[str, object]", content) if isinstance(content, dict) else {}


def is_open(directory: Path) -> bool:
    """Whether another user can walk down to this directory."""
    return all(
        parent.stat().st_mode & stat.S_IXOTH for parent in (directory, *directory.parents) if parent.exists()
    )


@dataclass(frozen=True, slots=True)
class Home:
    """Where one checkout keeps the data of its stand-ins."""

    directory: Path
    installation: str
    """Names this checkout, so that another one's parts are never taken for ours."""

    @classmethod
    def open(cls, directory: Path) -> Home:
        """Open the data directory, made on first use; PartFailed when this user cannot write there."""
        try:
            return cls._open(directory)
        except OSError as error:
            raise PartFailed(
                "stack",
                why=f"cannot keep data in {directory}: {error}",
                fix="run it as the user who owns the checkout, or free disk space",
            ) from error

    @classmethod
    def _open(cls, directory: Path) -> Home:
        # Root's Postgres runs as another user, who must be able to walk through.
        directory.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        directory = directory.resolve()
        (directory / "logs").mkdir(mode=0o700, exist_ok=True)
        return cls(directory, _installation(directory))

    def part(self, name: str) -> Path:
        """The directory of one part's data, closed to others."""
        directory = self.directory / name
        directory.mkdir(mode=0o700, exist_ok=True)
        return directory

    @property
    def logs(self) -> Path:
        """Where each part's output goes."""
        return self.directory / "logs"

    def secret(self, name: str) -> str:
        """A random secret, made once and remembered."""
        path = self.directory / "secrets" / name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        if not path.exists():
            write_private(path, text=secrets.token_hex(20))
        return path.read_text()

    def sockets(self) -> Path:
        """A directory with a short name for this checkout's sockets; PartFailed if it is not safely ours."""
        digest = hashlib.sha256(str(self.directory).encode()).hexdigest()[:12]
        top = Path(tempfile.gettempdir()) / f"nightshift-{os.geteuid()}"
        if len(str(top)) > LONGEST_SOCKET_DIRECTORY - len(digest):
            top = Path("/tmp") / top.name  # noqa: S108 - TMPDIR is too long for a socket's address
        own_directory(top, mode=0o711 if os.geteuid() == 0 else 0o700)
        own_directory(top / digest, mode=0o711 if os.geteuid() == 0 else 0o700)
        return top / digest


def own_directory(directory: Path, *, mode: int, owner: int | None = None) -> None:
    """Make a directory, or make sure that the one there is ours and closed; PartFailed if not."""
    owner = os.geteuid() if owner is None else owner
    try:
        directory.mkdir(mode=mode)
    except FileExistsError:
        pass
    else:
        if owner != os.geteuid():
            os.chown(directory, owner, -1)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or found.st_mode & 0o077 & ~mode:
        raise PartFailed(
            "sockets",
            why=f"{directory} exists but is not a closed directory of user id {owner}",
            fix=f"remove {directory}, or set TMPDIR to a directory of your own",
        )


def _installation(directory: Path) -> str:
    path = directory / "installation"
    try:
        # A copied checkout brings the file along: the path is part of the identity.
        known, _, place = path.read_text().strip().partition(" ")
    except FileNotFoundError:
        known, place = "", ""
    if known and place == str(directory):
        return known
    fresh = str(uuid.uuid4())
    write_private(path, text=f"{fresh} {directory}\n")
    return fresh
