"""E2B's Filesystem service over the sandbox's files; knows no HTTP."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.request import RequestContext
from e2b.envd.filesystem.filesystem_connect import Filesystem
from e2b.envd.filesystem.filesystem_pb import (
    ListDirRequest,
    ListDirResponse,
    MakeDirRequest,
    MakeDirResponse,
    MoveRequest,
    MoveResponse,
    RemoveRequest,
    RemoveResponse,
    StatRequest,
    StatResponse,
    WatchDirRequest,
    WatchDirResponse,
)
from typing_extensions import override

from starter.local.sandbox.guest.entries import EntryInfo, describe, entries_below
from starter.local.sandbox.guest.paths import Paths
from starter.local.sandbox.guest.watch import events_below

T = TypeVar("T")


class FilesystemService(Filesystem):
    """Stat, list, make, move, remove and watch."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    @override
    async def stat(
        self, request: StatRequest, ctx: RequestContext[StatRequest, StatResponse], /
    ) -> StatResponse:
        return StatResponse(entry=await _on_disk(lambda: describe(self._paths.resolve(request.path))))

    @override
    async def make_dir(
        self, request: MakeDirRequest, ctx: RequestContext[MakeDirRequest, MakeDirResponse], /
    ) -> MakeDirResponse:
        return MakeDirResponse(entry=await _on_disk(lambda: _make_dir(self._paths.resolve(request.path))))

    @override
    async def move(
        self, request: MoveRequest, ctx: RequestContext[MoveRequest, MoveResponse], /
    ) -> MoveResponse:
        source, target = self._paths.resolve(request.source), self._paths.resolve(request.destination)
        return MoveResponse(entry=await _on_disk(lambda: _move(source, target)))

    @override
    async def list_dir(
        self, request: ListDirRequest, ctx: RequestContext[ListDirRequest, ListDirResponse], /
    ) -> ListDirResponse:
        path = self._paths.resolve(request.path)
        entries = await _on_disk(lambda: list(entries_below(path, depth=request.depth or 1)))
        return ListDirResponse(entries=entries)

    @override
    async def remove(
        self, request: RemoveRequest, ctx: RequestContext[RemoveRequest, RemoveResponse], /
    ) -> RemoveResponse:
        await _on_disk(lambda: _remove(self._paths.resolve(request.path)))
        return RemoveResponse()

    @override
    async def watch_dir(
        self, request: WatchDirRequest, ctx: RequestContext[WatchDirRequest, WatchDirResponse], /
    ) -> AsyncIterator[WatchDirResponse]:
        path = self._paths.resolve(request.path)
        await _on_disk(lambda: os.scandir(path).close())
        seconds = None if ctx.timeout_ms is None else ctx.timeout_ms / 1000
        try:
            async for event in events_below(
                path, recursive=request.recursive, include_entry=request.include_entry, seconds=seconds
            ):
                yield event
        except TimeoutError:
            raise ConnectError(Code.DEADLINE_EXCEEDED, "context deadline exceeded") from None


def _make_dir(path: Path) -> EntryInfo:
    if path.is_dir():
        raise ConnectError(Code.ALREADY_EXISTS, f"directory already exists: {path}")
    if path.exists():
        raise ConnectError(Code.INVALID_ARGUMENT, f"path already exists but it is not a directory: {path}")
    path.mkdir(parents=True)
    return describe(path)


def _move(source: Path, target: Path) -> EntryInfo:
    source.lstat()
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)
    return describe(target)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


async def _on_disk(work: Callable[[], T]) -> T:
    try:
        return await asyncio.to_thread(work)
    except FileNotFoundError as error:
        raise ConnectError(Code.NOT_FOUND, f"path not found: {error.filename}") from error
    except NotADirectoryError as error:
        raise ConnectError(Code.INVALID_ARGUMENT, f"path is not a directory: {error.filename}") from error
    except OSError as error:
        raise ConnectError(Code.INTERNAL, str(error)) from error
