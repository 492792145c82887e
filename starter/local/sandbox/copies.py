"""Copies of a sandbox's files: its home and its tmp, whole. Knows no record and no guest."""

import asyncio
import shutil
from pathlib import Path

PLACES = ("home", "tmp")


async def copy_files(source: Path, target: Path, *, only_shown: bool = False) -> None:
    """Copy home and tmp of one directory over those of another; `only_shown` leaves out names with a dot."""
    for place in PLACES:
        into = target / place
        into.mkdir(mode=0o700, parents=True, exist_ok=True)
        if only_shown:
            found = [str(path) for path in (source / place).iterdir() if not path.name.startswith(".")]
        else:
            found = [f"{source / place}/."]
        await _copy(found, into)


async def replace_files(target: Path, source: Path) -> None:
    """Put a copy of other files in the place of home and tmp; nothing may run in them."""
    for place in PLACES:
        # The directories themselves stay: they are what a sandbox sees as its own.
        for found in (target / place).iterdir():
            await asyncio.to_thread(_remove, found)
    await copy_files(source, target)


async def _copy(paths: list[str], into: Path) -> None:
    if paths:
        # A file that goes while it is copied is no failure: what runs inside goes on.
        process = await asyncio.create_subprocess_exec(
            *("cp", "-a", "--", *paths, str(into)),
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        await process.wait()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
