"""What every stand-in is started with; it starts none itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from starter.local.home import Home
from starter.local.parts import Part, PartFailed, Progress
from starter.local.ports import Ports
from starter.local.supervisor import Supervisor


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The checkout, its data directory, and the means to start children and to tell how it goes."""

    root: Path
    home: Home
    ports: Ports
    supervisor: Supervisor
    progress: Progress
    fast: bool = False
    """Give up surviving a power cut for speed; for tests."""
    upload_hosts: str = ""
    """Where sandboxes may upload to although it is a private address: HOST:PORT, or nothing."""
    usual_ports: bool = True
    """Take the ports that people expect when they are free; tests leave those alone."""


def check_engine(directory: Path, *, part: Part, engine: str) -> None:
    """Stamp a part's data with its engine; PartFailed if another engine wrote the data."""
    stamp = directory / "engine"
    known = stamp.read_text().strip() if stamp.exists() else ""
    if known and known != engine:
        raise PartFailed(
            part,
            why=f"the data in {directory} was written by {known}, and what would run here is {engine}",
            fix=f"install {known} again, or move {directory} away to begin with no data",
        )
    if not known:
        stamp.write_text(engine + "\n")
