"""E2B's `/files`: whole files up and down over HTTP; uploads truncate in place, as E2B's do."""

import asyncio
import errno
import mimetypes
import os
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import BinaryIO
from urllib.parse import parse_qs

from starter.local.sandbox.guest.asgi import (
    Receive,
    Refused,
    Scope,
    Send,
    header,
    read_chunks,
    respond_json,
)
from starter.local.sandbox.guest.entries import METADATA_PREFIX, read_metadata
from starter.local.sandbox.guest.multipart import parts_of
from starter.local.sandbox.guest.paths import Paths, UnknownUserError, check_user, user_of_authorization

CHUNK = 256 * 1024
METADATA_HEADER = b"x-metadata-"
STATUS_OF_ERRNO = {
    errno.ENOENT: 404,
    errno.ENOSPC: 507,
    errno.EDQUOT: 507,
    errno.EFBIG: 507,
    errno.EISDIR: 400,
    errno.ENOTDIR: 400,
    errno.ENAMETOOLONG: 400,
    errno.EACCES: 403,
    errno.EPERM: 403,
    errno.EROFS: 403,
}


class Files:
    """Serves GET and POST of `/files`."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request.

        Raises:
            Refused: the request cannot be served; its status says why.

        """
        query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
        try:
            check_user(query.get("username") or user_of_authorization(header(scope, b"authorization")))
            if scope["method"] == "GET":
                await self._download(query.get("path", ""), scope, send)
            elif scope["method"] == "POST":
                await respond_json(send, 200, await self._upload(query.get("path"), scope, receive))
            else:
                raise Refused(405, "method not allowed")
        except UnknownUserError as error:
            raise Refused(401, str(error)) from error
        except (OSError, zlib.error, ValueError) as error:
            raise _refusal(error) from error

    async def _download(self, name: str, scope: Scope, send: Send) -> None:
        path = self._paths.resolve(name)
        if path.is_dir():
            raise Refused(400, f"path {str(path)!r} is a directory")
        if not path.is_file():
            raise Refused(
                404 if not path.exists() else 400, f"path {str(path)!r} does not exist or is no file"
            )
        compressed = header(scope, b"accept-encoding").strip() == "gzip"
        file = await asyncio.to_thread(path.open, "rb")
        with file:
            await send(_download_start(path, size=os.fstat(file.fileno()).st_size, compressed=compressed))
            for chunk in _compress(file) if compressed else _chunks(file):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _upload(self, name: str | None, scope: Scope, receive: Receive) -> list[dict[str, object]]:
        body = _inflated(scope, receive)
        content_type = header(scope, b"content-type")
        if content_type.startswith("multipart/form-data"):
            whole = b"".join([chunk async for chunk in body])
            parts = parts_of(whole, content_type=content_type)
            return [await self._write(name or part.filename, _once(part.content), scope) for part in parts]
        if name is None:
            raise Refused(400, "an octet-stream upload needs a path in its query")
        return [await self._write(name, body, scope)]

    async def _write(self, name: str, body: AsyncIterator[bytes], scope: Scope) -> dict[str, object]:
        path = self._paths.resolve(name)
        if path.is_dir():
            raise Refused(400, f"path {str(path)!r} is a directory")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb", buffering=0) as file:
            await _save(body, file)
        _store_metadata(path, scope)
        return {"path": str(path), "name": path.name, "type": "file", "metadata": read_metadata(path)}


async def _save(body: AsyncIterator[bytes], file: FileIO) -> None:
    try:
        async for chunk in body:
            await asyncio.to_thread(_write_all, file, chunk)
    except OSError:
        # An answer given before the end of the request is lost when the connection closes on it.
        async for _ in body:
            pass
        raise


def _write_all(file: FileIO, data: bytes) -> None:
    while data:
        data = data[file.write(data) :]


def _refusal(error: Exception) -> Refused:
    if isinstance(error, OSError):
        return Refused(STATUS_OF_ERRNO.get(error.errno or 0, 500), f"{error.strerror}: {error.filename}")
    return Refused(400, str(error))


def _download_start(path: Path, *, size: int, compressed: bool) -> dict[str, object]:
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    encoding = (b"content-encoding", b"gzip") if compressed else (b"content-length", str(size).encode())
    headers = [(b"content-type", kind.encode()), encoding]
    return {"type": "http.response.start", "status": 200, "headers": headers}


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    # A file that grows while read must not exceed the length already announced.
    left = os.fstat(file.fileno()).st_size
    while left > 0 and (chunk := file.read(min(CHUNK, left))):
        left -= len(chunk)
        yield chunk


def _compress(file: BinaryIO) -> Iterator[bytes]:
    packer = zlib.compressobj(level=1, wbits=31)
    while chunk := file.read(CHUNK):
        yield packer.compress(chunk)
    yield packer.flush()


async def _inflated(scope: Scope, receive: Receive) -> AsyncIterator[bytes]:
    unpacker = zlib.decompressobj(wbits=31) if header(scope, b"content-encoding") == "gzip" else None
    async for chunk in read_chunks(receive):
        yield unpacker.decompress(chunk) if unpacker else chunk


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


def _store_metadata(path: Path, scope: Scope) -> None:
    for name, value in scope["headers"]:
        if name.startswith(METADATA_HEADER):
            key = METADATA_PREFIX + name.removeprefix(METADATA_HEADER).decode()
            # A disk without extended attributes keeps the file and drops its metadata.
            with suppress(OSError):
                os.setxattr(path, key, value)
