"""What processes of this machine hold and use, from /proc."""

import os
from collections.abc import Mapping
from pathlib import Path

NAMES = {"server": "start-dev", "database": "postgres"}
"""Of the stand-ins that are children of this process: what their command line holds."""


def stand_ins() -> dict[str, int]:
    """The process ids of the Temporal server and of Postgres, its first process."""
    found: dict[str, int] = {}
    for pid in _children(os.getpid()):
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        found |= {name: pid for name, word in NAMES.items() if word in command}
    return found


def resident_mb(pids: Mapping[str, int]) -> dict[str, int]:
    """Resident memory of each; of Postgres its shared memory is in it, and its connections are not."""
    return {f"{name}_mb": _status(pid, "VmRSS") // 1024 for name, pid in pids.items()}


def cpu_seconds(pids: Mapping[str, int]) -> dict[str, float]:
    """CPU time that each used so far, its waited-for children's included."""
    return {name: _cpu(pid) for name, pid in pids.items()}


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _status(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise LookupError(name)


def _cpu(pid: int) -> float:
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
