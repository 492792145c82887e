"""What the first process of a sandbox owes the others: burying those whose own parents are gone."""

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

from starter.local.sandbox.guest.processes import ProcessTable


def bury_orphans(table: ProcessTable) -> None:
    """Wait for every ended child that no one else waits for."""
    # A process just forked is not in the table yet, and its exit code must be left to its starter.
    if table.is_starting:
        return
    for children in Path("/proc/self/task").glob("*/children"):
        for pid in children.read_text().split():
            if table.find(pid=int(pid)) is None:
                with suppress(ChildProcessError):
                    os.waitpid(int(pid), os.WNOHANG)


def act_as_first_process(table: ProcessTable) -> None:
    """Take up the duties of process 1, if this is it; nothing inside can then end it by a signal."""
    if os.getpid() == 1:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, bury_orphans, table)
