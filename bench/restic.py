"""restic, the peer of `make bench-snapshot`: built once for a user, as the stack's own programs are."""

import os
import subprocess
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from starter.local.go import GoProgram, go_program

RESTIC = GoProgram(
    name="restic",
    version="0.18.1",
    package="github.com/restic/restic/cmd/restic",
    expected=timedelta(minutes=3),
    oldest_go=(1, 23),
    fix="install Go",
)


@dataclass(frozen=True, slots=True)
class Restic:
    """A repository in the bucket of the bench's object store."""

    program: Path
    environment: dict[str, str]

    def run(self, *arguments: str, cwd: Path | None = None) -> None:
        """Run one command."""
        ran = subprocess.run(
            [self.program, *arguments],
            env={**os.environ, **self.environment},
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode:
            raise RuntimeError(f"restic {arguments[0]}: {ran.stderr[-500:]}")


async def get_restic() -> Path:
    """The program, built now if need be."""
    return await go_program(RESTIC, progress=print)
