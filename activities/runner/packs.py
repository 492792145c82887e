"""Packs: files of gzip members, one a content, named by the sha256 of the whole.

A member can be fetched alone by its offset and length. Content that some pack holds is not written again.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import zlib
from contextlib import suppress
from typing import BinaryIO, Iterator, NamedTuple

from .state import State, remove

CHUNK = 1024 * 1024
GZIP = 31
"""zlib's window for a gzip header without name and time: the same bytes for the same content."""
_LEVEL = 1
_ATTEMPTS = 3


class Place(NamedTuple):
    """Where a content lies; `pack` is a digest, or an open pack's placeholder until it is closed."""

    pack: str
    offset: int
    length: int


class Kept(NamedTuple):
    """A content that was read."""

    sha256: str
    size: int
    place: Place
    stat: os.stat_result
    torn: bool
    """It changed while it was read, again and again."""


class TooMuch(Exception):
    """A limit of bytes is reached; the file is left out."""


NOWHERE = Place("", 0, 0)


class Packer:
    """Writes the packs of one capture."""

    def __init__(
        self,
        state: State,
        *,
        known: dict[str, Place],
        carried: frozenset[str] = frozenset(),
        pack_bytes: int,
        most: int,
    ) -> None:
        self._folder = os.path.dirname(state.path("packs", "x"))
        self._known = known
        self._pack_bytes = pack_bytes
        self._carried = carried
        """Contents to move out of some pack: no limit leaves them out, and they lie apart from new ones."""
        self._moving = False
        self._left = most
        self._file: BinaryIO | None = None
        self._hash = hashlib.sha256()
        self._size = 0
        self._opened = 0
        self.names: dict[str, str] = {}
        """Placeholder → digest of each closed pack."""
        self.packs: list[dict[str, object]] = []
        self.stored = 0
        """Bytes written into packs."""

    def keep(self, path: bytes, *, most: int) -> Kept | None:
        """Read a file and see that its content lies in a pack; None if it is no regular file any more.

        Raises TooMuch if it has more than `most` bytes or the capture's limit is reached, and
        PermissionError if it cannot be read.
        """
        file = open_regular(path)
        if file is None:
            return None
        with file:
            kept = None
            for _ in range(_ATTEMPTS):
                before = os.fstat(file.fileno())
                if before.st_size > most:
                    raise TooMuch
                sha256, size, place = self._store(file)
                after = os.fstat(file.fileno())
                kept = Kept(sha256, size, place, after, torn=_differs(before, after) or size != after.st_size)
                if not kept.torn:
                    break
            return kept

    def close(self) -> None:
        """Finish the open pack, and give it its name."""
        if self._file is None:
            return
        temporary = self._file.name
        self._file.close()
        digest = self._hash.hexdigest()
        os.replace(temporary, os.path.join(self._folder, digest))
        self.names[self._placeholder()] = digest
        self.packs.append({"sha256": digest, "bytes": self._size})
        self._file = None

    def abandon(self) -> None:
        """Delete what was packed, as when the disk is full."""
        for pack in self.packs:
            remove(os.path.join(self._folder, str(pack["sha256"])))
        if self._file is not None:
            remove(self._file.name)
            with suppress(OSError):
                self._file.close()
            self._file = None

    def _store(self, file: BinaryIO) -> tuple[str, int, Place]:
        file.seek(0)
        first = file.read(CHUNK)
        rest: Iterator[bytes] = iter(()) if len(first) < CHUNK else _chunks(file)
        hashed, size = hashlib.sha256(first), len(first)
        for chunk in rest:
            hashed.update(chunk)
            size += len(chunk)
        sha256 = hashed.hexdigest()
        if size == 0:
            return sha256, 0, NOWHERE
        if sha256 in self._known:
            return sha256, size, self._known[sha256]
        moving = sha256 in self._carried
        if size > self._left and not moving:
            raise TooMuch
        if moving != self._moving:  # What has lived long would die again with a pack of what is new.
            self.close()
            self._moving = moving
        if size >= CHUNK:
            file.seek(0)
            return self._append(_chunks(file))
        return self._append(iter([first]))

    def _append(self, chunks: Iterator[bytes]) -> tuple[str, int, Place]:
        if self._size >= self._pack_bytes:
            self.close()
        start = self._size if self._file else 0
        hashed, size = hashlib.sha256(), 0
        member = zlib.compressobj(_LEVEL, zlib.DEFLATED, GZIP)
        for chunk in chunks:
            hashed.update(chunk)
            size += len(chunk)
            self._write(member.compress(chunk))
        self._write(member.flush())
        sha256 = hashed.hexdigest()
        place = Place(self._placeholder(), start, self._size - start)
        self._known[sha256] = place
        if sha256 not in self._carried:
            self._left -= size
        return sha256, size, place

    def _write(self, data: bytes) -> None:
        if self._file is None:
            self._opened += 1
            self._hash, self._size = hashlib.sha256(), 0
            self._file = open(os.path.join(self._folder, f"{os.getpid()}-{self._opened}.tmp"), "wb")  # noqa: SIM115
        self._file.write(data)
        self._hash.update(data)
        self._size += len(data)
        self.stored += len(data)

    def _placeholder(self) -> str:
        return f"open-{self._opened}"


_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)
"""It was deleted or replaced meanwhile: by a link, a socket."""


def open_regular(path: bytes) -> BinaryIO | None:
    """Open a regular file without following a link or waiting on a FIFO; None if there is none.

    Raises PermissionError for one that cannot be read, and what passes, as too many open files, as it is.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        if error.errno == errno.EIO:
            raise PermissionError(error.errno, error.strerror, path) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    return os.fdopen(descriptor, "rb", buffering=0)


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while True:
        chunk = file.read(CHUNK)
        if not chunk:
            return
        yield chunk


def _differs(before: os.stat_result, after: os.stat_result) -> bool:
    return (before.st_size, before.st_mtime_ns, before.st_ctime_ns) != (
        after.st_size,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )
