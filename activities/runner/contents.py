"""Takes contents out of packs into new files; every byte is checked against its digest."""

from __future__ import annotations

import hashlib
import io
import os
import zlib
from contextlib import contextmanager
from typing import Any, BinaryIO, Generator, Iterator

from .failures import RunnerFailure
from .packs import CHUNK, GZIP
from .rows import Row, quote
from .state import State, remove


@contextmanager
def fetch(state: State, pack: str, packs: dict[str, dict[str, Any]]) -> Generator[BinaryIO, None, None]:
    """Open a pack: from `url`, or the file `path` that the worker put into the sandbox; none for empty files.

    Raises RunnerFailure `download` if it is not given or does not come, `missing` if the store has it not,
    `corrupt` if its digest is another.
    """
    given = packs.get(pack, {})
    if not pack:
        yield io.BytesIO()
    elif "path" in given:
        with open(given["path"], "rb") as file:
            _verify(file, pack)
            yield file
    elif "url" in given:
        with _download(state, pack, given["url"]) as file:
            yield file
    else:
        raise RunnerFailure("download", f"The request says not where pack {pack} is.")


@contextmanager
def _download(state: State, pack: str, url: str) -> Generator[BinaryIO, None, None]:
    temporary = state.path("restoring", f"{os.getpid()}-{os.path.basename(pack)}")
    try:
        with open(temporary, "w+b") as file:
            _get(url, pack, file)
            _verify(file, pack)
            yield file
    finally:
        remove(temporary)


def _get(url: str, pack: str, file: BinaryIO) -> None:
    from .transfer import get

    try:
        get(url, into=file)
    except RunnerFailure as failure:
        raise RunnerFailure(failure.kind, f"Pack {pack}: {failure}") from None


def _verify(file: BinaryIO, pack: str) -> None:
    file.seek(0)
    hashed = hashlib.sha256()
    for chunk in iter(lambda: file.read(CHUNK), b""):
        hashed.update(chunk)
    if hashed.hexdigest() != pack:
        raise RunnerFailure("corrupt", f"Pack {pack} has other content: digest {hashed.hexdigest()}.")


def write_files(pack: BinaryIO, root: bytes, rows: dict[bytes, Row]) -> None:
    """Write new files with content, owner, mode and time.

    Raises RunnerFailure `corrupt` if a content is not what its row says.
    """
    for path, row in sorted(rows.items(), key=lambda item: item[1].offset):
        whole = os.path.join(root, path)
        descriptor = os.open(
            whole, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            _write(file, pack, path, row)
            if os.geteuid() == 0:
                _give(descriptor, row)
            os.fchmod(descriptor, row.mode)
            os.utime(descriptor, ns=(row.mtime_ns, row.mtime_ns))


def _write(file: BinaryIO, pack: BinaryIO, path: bytes, row: Row) -> None:
    hashed, size = hashlib.sha256(), 0
    for chunk in _content(pack, row):
        hashed.update(chunk)
        size += len(chunk)
        if size > row.size:
            break
        _put(file, chunk)
    file.truncate()
    if size != row.size or hashed.hexdigest() != row.sha256:
        raise RunnerFailure("corrupt", f"The content of {quote(path)} is not what the manifest says.")


def _put(file: BinaryIO, chunk: bytes) -> None:
    """Write a chunk whole; leave a hole for zeros, so that a sparse file takes no more room than it did."""
    if chunk.count(0) == len(chunk):
        file.seek(len(chunk), os.SEEK_CUR)
        return
    while chunk:  # an unbuffered write on an almost full disk takes a part and says so
        chunk = chunk[file.write(chunk) :]


def _content(pack: BinaryIO, row: Row) -> Iterator[bytes]:
    pack.seek(row.offset)
    left, inflating = row.length, zlib.decompressobj(GZIP)
    try:
        while left > 0:
            data = pack.read(min(CHUNK, left))
            if not data:
                return
            left -= len(data)
            while data:
                yield inflating.decompress(data, CHUNK)
                data = inflating.unconsumed_tail
        yield inflating.flush()
    except zlib.error:
        return


def _give(descriptor: int, row: Row) -> None:
    try:
        os.fchown(descriptor, row.uid, row.gid)
    except OSError:
        return  # a user namespace does not map every owner
