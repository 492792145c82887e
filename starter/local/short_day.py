"""A time zone in which midnight is near, for the demo and the bench of sleep; the rules of days stay real.

It is a file of the system's own format in a directory that only the worker of that demo or bench searches.
"""

import os
import struct
import zoneinfo
from datetime import UTC, datetime
from pathlib import Path

ZONE = "Nightshift/Soon"


def write_zone(folder: Path, *, midnight: datetime) -> None:
    """Write the zone whose midnight is at a moment; a worker reads it once, for its first user there."""
    at = midnight.astimezone(UTC)
    behind = at.hour * 3600 + at.minute * 60 + at.second
    file = folder / ZONE
    file.parent.mkdir(parents=True, exist_ok=True)
    # TZif, version 1: a header, no transitions, one local time (seconds east, not summer time, its name).
    counts = struct.pack(">6l", 0, 0, 0, 0, 1, 5)
    file.write_bytes(b"TZif".ljust(20, b"\0") + counts + struct.pack(">lBB", -behind, 0, 0) + b"SOON\0")


def zone_environment(folder: Path) -> dict[str, str]:
    """What makes a worker search the folder before the system's zones."""
    return {"PYTHONTZPATH": os.pathsep.join([str(folder), *zoneinfo.TZPATH])}
