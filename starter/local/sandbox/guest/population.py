"""The processes of a sandbox, and what they may use together: their number and their memory.

Held by looking four times a second, which needs no cgroup and no privilege. As a machine out of memory does,
the largest is killed; of too many processes the newest are, where E2B's kernel refuses to start them.
"""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

LOOK_SECONDS = 0.25
PAGE = os.sysconf("SC_PAGE_SIZE")


class Population:
    """Every process of this sandbox."""

    def __init__(self, *, isolated: bool) -> None:
        self.is_isolated = isolated
        self.is_frozen = False
        """Whether the sandbox is paused; nobody is then let go on."""

    def pids(self) -> Iterator[int]:
        """Yield the id of each, this program among them."""
        marker = f"E2B_SANDBOX_ID={os.environ.get('E2B_SANDBOX_ID')}\0".encode()
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if self.is_isolated or marker in (path / "environ").read_bytes():
                    yield int(path.name)

    def others(self) -> list[int]:
        """Return those that are not this program or what it runs in, oldest first."""
        found = [pid for pid in self.pids() if pid not in {1, os.getpid()}]
        return sorted(found, key=_started)

    async def hold(self, *, most: int, memory: int) -> None:
        """Keep at most so many processes with together so much memory, in bytes, for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self.is_frozen:
                continue
            pids = self.others()
            if len(pids) > most:
                self._thin_out(most)
            elif sum(map(_resident, pids)) > memory and sum(map(_used, pids)) > memory:
                _signal(max(pids, key=_used), signal.SIGKILL)

    def _thin_out(self, most: int) -> None:
        # Stopped first: what multiplies would outrun a killer.
        self._signal_all(signal.SIGSTOP)
        for pid in self.others()[most:]:
            _signal(pid, signal.SIGKILL)
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        if self.is_isolated:
            # Every process of this pid namespace but its first and this one, in one step.
            _signal(-1, number)
            return
        for pid in self.others():
            _signal(pid, number)


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _started(pid: int) -> int:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return 0


def _resident(pid: int) -> int:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    return 0


def _used(pid: int) -> int:
    """Give a process's share of the memory: pages that several have are divided among them.

    Of one that lets nobody look into it, as any may choose, the shared pages count in full.
    """
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return _resident(pid)
