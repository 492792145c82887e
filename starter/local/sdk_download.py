"""The servers that the Temporal SDK downloads by itself; where it may not, that is remembered."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, cast

from temporalio.service import __version__ as sdk_version

if TYPE_CHECKING:
    from temporalio.testing import WorkflowEnvironment

from starter.local.binaries import Artefact, cache_directory, cached, make, run_building
from starter.local.parts import PartFailed, Progress

Kind = Literal["cli", "test-server"]
LIMIT = timedelta(seconds=60)
REFUSAL_KEPT = timedelta(days=7)
ROOT = Path(__file__).parents[2]


class _Start(Protocol):
    async def __call__(self, *, download_dest_dir: str) -> WorkflowEnvironment: ...


async def downloaded(kind: Kind, *, progress: Progress) -> Path | None:
    """The SDK's own download, kept for all checkouts of the user; None where it is not to be had."""
    artefact = Artefact(name=f"temporal-sdk-{kind}", version=sdk_version, expected=timedelta(seconds=20))
    if found := cached(artefact):
        return found
    refusal = cache_directory() / f"{artefact.file_name}.refused"
    if refusal.exists() and time.time() - refusal.stat().st_mtime < REFUSAL_KEPT.total_seconds():
        return None

    async def build(scratch: Path) -> Path:
        await run_building(
            artefact,
            (sys.executable, "-m", __name__, kind, str(scratch)),
            environment=os.environ | {"PYTHONPATH": str(ROOT)},
            scratch=scratch,
            progress=progress,
            fix="",
            limit=LIMIT,
        )
        return next(path for path in _files(scratch) if path.name.startswith("temporal"))

    try:
        return await make(artefact, build, progress=progress)
    except PartFailed:
        refusal.touch()
        progress(
            f"the Temporal SDK's own download of its {kind} is not to be had here: getting it another way"
        )
        return None


def _files(directory: Path) -> list[Path]:
    return list(directory.iterdir())


async def _download(kind: str, directory: str) -> None:
    from temporalio.testing import WorkflowEnvironment

    cli = WorkflowEnvironment.start_local  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # vendor
    start = cast("_Start", cli if kind == "cli" else WorkflowEnvironment.start_time_skipping)
    await (await start(download_dest_dir=directory)).shutdown()


if __name__ == "__main__":
    code = 0
    try:
        asyncio.run(_download(*sys.argv[1:3]))
    except RuntimeError as error:
        print(error, file=sys.stderr, flush=True)
        code = 1
    # An interpreter that opened a Temporal client sometimes dies at exit.
    os._exit(code)
