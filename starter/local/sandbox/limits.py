"""What a sandbox, and all of them together, may use: E2B's numbers, where they make sense on one machine."""

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from starter.local.sandbox.records import Record, State


class TooManyError(Exception):
    """The account's limit of creations, or of sandboxes at once, is reached; the text says which."""


@dataclass(frozen=True)
class Limits:
    """The limits of one server; those of a sandbox are held by its guest, as root and as a user alike."""

    longest_run: timedelta = timedelta(hours=24)
    """How long a sandbox runs without a pause; an hour on E2B's Base."""
    at_once: int = 100
    """Running sandboxes; 20 on E2B's Base."""
    creations: int = 5
    """Creations a second; 1 on E2B's Base."""
    memory_mb: int = 4096
    """Memory of all processes of a sandbox; E2B's default template has 512."""
    processes: int = 2048
    """Processes of a sandbox."""
    disk_mb: int = 10240
    """Files of a sandbox; 10240 on E2B's Base."""

    @property
    def shared_memory(self) -> int:
        """Bytes of a sandbox's /dev/shm: as much of its memory as Linux gives to it of a machine's."""
        return (self.memory_mb << 20) // 2

    def check_room(self, records: Iterable[Record]) -> None:
        """Check that one more may run; raises TooManyError."""
        running = sum(record.state is State.RUNNING for record in records)
        if running >= self.at_once:
            raise TooManyError(
                f"You have reached the maximum number of concurrent sandboxes ({self.at_once})."
            )

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """Add an option for each to a command line."""
        limits = cls()
        seconds = int(limits.longest_run.total_seconds())
        parser.add_argument("--longest-run", type=int, default=seconds, help="seconds without a pause")
        parser.add_argument("--at-once", type=int, default=limits.at_once, help="running sandboxes")
        parser.add_argument("--creations", type=int, default=limits.creations, help="a second")
        parser.add_argument("--memory-mb", type=int, default=limits.memory_mb, help="of a sandbox")
        parser.add_argument("--processes", type=int, default=limits.processes, help="of a sandbox")
        parser.add_argument("--disk-mb", type=int, default=limits.disk_mb, help="of a sandbox")

    @classmethod
    def of(cls, options: argparse.Namespace) -> Self:
        """Read them from a command line."""
        return cls(
            longest_run=timedelta(seconds=options.longest_run),
            at_once=options.at_once,
            creations=options.creations,
            memory_mb=options.memory_mb,
            processes=options.processes,
            disk_mb=options.disk_mb,
        )


class Rate:
    """Lets so many pass in any one second."""

    def __init__(self, a_second: int) -> None:
        self._a_second = a_second
        self._passed: list[float] = []

    def take(self, now: float) -> None:
        """Let one pass; raises TooManyError when that is one too many."""
        self._passed = [time for time in self._passed if time > now - 1]
        if len(self._passed) >= self._a_second:
            raise TooManyError(
                f"Rate limit exceeded: {self._a_second} creations a second are allowed, try again later."
            )
        self._passed.append(now)
