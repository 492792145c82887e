"""A file or directory as E2B describes it; reads the disk, changes nothing."""

import contextlib
import grp
import os
import pwd
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from e2b.envd.filesystem.filesystem_pb import EntryInfo, FileType
from protobuf.wkt import Timestamp

METADATA_PREFIX = "user.e2b."

__all__ = ["METADATA_PREFIX", "EntryInfo", "describe", "entries_below", "read_metadata"]


def describe(path: Path) -> EntryInfo:
    """Describe what is at a path; a symbolic link has its own size and its target's type.

    Raises:
        FileNotFoundError: nothing is there.

    """
    status = path.lstat()
    is_link = stat.S_ISLNK(status.st_mode)
    return EntryInfo(
        name=_text(path.name),
        type=_file_type(path),
        path=_text(path),
        size=status.st_size,
        mode=stat.S_IMODE(status.st_mode),
        permissions=stat.filemode(status.st_mode),
        owner=_owner(status.st_uid),
        group=_group(status.st_gid),
        modified_time=Timestamp.from_datetime(datetime.fromtimestamp(status.st_mtime, UTC)),
        symlink_target=_text(path.resolve()) if is_link else None,
        metadata=read_metadata(path),
        is_symlink=is_link,
    )


def entries_below(root: Path, *, depth: int) -> Iterator[EntryInfo]:
    """Describe what lies up to `depth` levels below a directory, links not followed.

    Raises:
        FileNotFoundError: the directory is not there.
        NotADirectoryError: it is something else.

    """
    with os.scandir(root) as found:
        for entry in sorted(found, key=lambda entry: entry.name):
            path = Path(entry.path)
            with contextlib.suppress(FileNotFoundError, PermissionError):
                yield describe(path)
                if depth > 1 and entry.is_dir(follow_symlinks=False):
                    yield from entries_below(path, depth=depth - 1)


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata a file was uploaded with; empty where the disk keeps none."""
    found: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for name in os.listxattr(path, follow_symlinks=False):
            if name.startswith(METADATA_PREFIX):
                value = os.getxattr(path, name, follow_symlinks=False)
                found[name.removeprefix(METADATA_PREFIX)] = value.decode("utf-8", "replace")
    return found


def _text(name: object) -> str:
    # Names that are not UTF-8 cannot travel in a protobuf string.
    return os.fsencode(str(name)).decode("utf-8", "replace")


def _file_type(path: Path) -> FileType:
    if path.is_dir():
        return FileType.DIRECTORY
    if path.is_file():
        return FileType.FILE
    return FileType.SYMLINK if path.is_symlink() else FileType.UNSPECIFIED


def _owner(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
