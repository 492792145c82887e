"""What the system says of a process by its id; ends none."""

from __future__ import annotations

import subprocess
from pathlib import Path

PROC = Path("/proc")


def started_at(pid: int) -> str:
    """When a process started, in the system's own words; empty when there is no such process."""
    if not (PROC / "self/stat").exists():
        return _ask("lstart=", pid)
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    # A zombie only waits to be reaped: it holds no port and no file.
    return "" if fields[0] == "Z" else fields[19]


def program_of(pid: int) -> str:
    """The name of the program that a process runs; empty when there is no such process."""
    if not (PROC / "self/stat").exists():
        return Path(_ask("comm=", pid)).name
    try:
        return (PROC / str(pid) / "comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _ask(column: str, pid: int) -> str:
    answer = subprocess.run(["ps", "-o", column, "-p", str(pid)], capture_output=True, text=True, check=False)
    return answer.stdout.strip()
