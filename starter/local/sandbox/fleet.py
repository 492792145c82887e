"""The life of every sandbox of this server: created, connected, paused, killed, timed out, taken up again.

A record says what a sandbox is; a guest is it running. A sandbox whose guest is gone is paused: its files
are there, its processes are not, and connecting boots it again.
"""

import asyncio
import logging
from collections.abc import Coroutine
from pathlib import Path
from types import TracebackType
from typing import Self

from starter.local.sandbox.channel import GuestGoneError
from starter.local.sandbox.copies import copy_files
from starter.local.sandbox.guest_process import (
    BootError,
    Guest,
    Surroundings,
    boot,
    reap_leftover,
    started_at,
)
from starter.local.sandbox.limits import Rate
from starter.local.sandbox.one_sandbox import Sandbox, SandboxNotFoundError
from starter.local.sandbox.records import Record, RecordStore, State, now

AUTO_RESUME_SECONDS = 300

log = logging.getLogger(__name__)


class AlreadyPausedError(Exception):
    """The sandbox is paused already."""


class Fleet:
    """All sandboxes of one data directory; entering takes them up, leaving ends their processes."""

    def __init__(self, store: RecordStore, surroundings: Surroundings) -> None:
        self._store = store
        self._surroundings = surroundings
        self.limits = surroundings.limits
        self._creations = Rate(self.limits.creations)
        self._sandboxes: dict[str, Sandbox] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    async def __aenter__(self) -> Self:
        for record in self._store.load():
            await self._take_up(record)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        """End every sandbox's processes and boot none any more."""
        self._closed = True
        await asyncio.gather(*[self._release(sandbox) for sandbox in self._sandboxes.values()])

    @property
    def isolated(self) -> bool:
        """Whether sandboxes are shut in."""
        return self._surroundings.isolation.isolated

    def records(self) -> list[Record]:
        """Return every sandbox's record."""
        return [sandbox.record for sandbox in self._sandboxes.values()]

    def find(self, sandbox_id: str) -> Sandbox:
        """Return a sandbox.

        Raises:
            SandboxNotFoundError: there is none of that id.

        """
        if found := self._sandboxes.get(sandbox_id):
            return found
        raise SandboxNotFoundError(f"Sandbox {sandbox_id!r} not found.")

    def directory(self, sandbox_id: str) -> Path:
        """Return where a sandbox's home and tmp are."""
        return self._store.directory(sandbox_id)

    async def create(self, record: Record, *, files: Path | None = None, only_shown: bool = False) -> Sandbox:
        """Create a sandbox, or return the one that was created under the same idempotency key.

        It begins with a copy of the home and tmp in `files`, without hidden names if `only_shown`.

        Raises:
            BootError: it did not come up; nothing is left of it.
            TooManyError: there are too many, or they come too fast.

        """
        sandbox = self._of_key(record.idempotency_key)
        if sandbox is None:
            self._creations.take(now().timestamp())
            self.limits.check_room(self.records())
            sandbox = Sandbox(record)
            self._sandboxes[record.sandbox_id] = sandbox
            self._store.add(record)
        async with sandbox.lock:
            sandbox.check_present()
            try:
                if files is not None and sandbox.record is record:
                    await copy_files(files, self.directory(record.sandbox_id), only_shown=only_shown)
                await self._run(sandbox)
            except BaseException:
                await self._remove(sandbox)
                raise
        return sandbox

    async def connect(self, sandbox_id: str, *, seconds: int) -> bool:
        """Resume a sandbox, or only lengthen its timeout; tell whether it was resumed.

        Raises:
            SandboxNotFoundError: there is none of that id.
            BootError: it did not come up; its files are kept.
            TooManyError: too many run.

        """
        sandbox = self.find(sandbox_id)
        async with sandbox.lock:
            sandbox.check_present()
            resumed = sandbox.is_paused
            if resumed:
                self.limits.check_room(self.records())
                sandbox.record.run_began_at = now()
                await sandbox.go_stale(self.directory(sandbox_id))
            end_at = sandbox.record.end_at
            sandbox.live_for(seconds, longest_run=self.limits.longest_run)
            if not resumed:
                sandbox.record.end_at = max(end_at, sandbox.record.end_at)
            await self._run(sandbox)
        return resumed

    async def wake_for_traffic(self, sandbox: Sandbox) -> None:
        """Resume a paused sandbox that was created to resume by itself."""
        if sandbox.is_paused and sandbox.record.auto_resume:
            seconds = max(sandbox.record.timeout, AUTO_RESUME_SECONDS)
            await self.connect(sandbox.record.sandbox_id, seconds=seconds)

    async def pause(self, sandbox_id: str, *, keep_memory: bool) -> None:
        """Freeze a sandbox, or end its processes and keep its files.

        Raises:
            SandboxNotFoundError: there is none of that id.
            AlreadyPausedError: it is paused.

        """
        sandbox = self.find(sandbox_id)
        async with sandbox.lock:
            sandbox.check_present()
            if sandbox.is_paused:
                raise AlreadyPausedError(f"Sandbox {sandbox_id!r} is already paused.")
            await self._pause(sandbox, keep_memory=keep_memory)

    async def kill(self, sandbox_id: str) -> None:
        """End a sandbox and delete its files.

        Raises:
            SandboxNotFoundError: there is none of that id.

        """
        sandbox = self.find(sandbox_id)
        async with sandbox.lock:
            sandbox.check_present()
            await self._remove(sandbox)

    async def set_timeout(self, sandbox_id: str, *, seconds: int) -> None:
        """Let a sandbox time out `seconds` from now, sooner or later than before.

        Raises:
            SandboxNotFoundError: there is none of that id, or it is paused.

        """
        sandbox = self.find(sandbox_id)
        async with sandbox.lock:
            sandbox.check_present()
            if sandbox.is_paused:
                raise SandboxNotFoundError(f"Sandbox {sandbox_id!r} is paused.")
            sandbox.live_for(seconds, longest_run=self.limits.longest_run)
            self._store.save(sandbox.record)
            self.arm(sandbox)

    async def preview(self, sandbox_id: str, *, port: int) -> int:
        """Return the 127.0.0.1 port that shows a sandbox's port, the same for the sandbox's whole life.

        Raises:
            SandboxNotFoundError: there is none of that id.

        """
        sandbox = self.find(sandbox_id)
        async with sandbox.lock:
            sandbox.check_present()
            shown = await sandbox.preview(port)
            self._store.save(sandbox.record)
            return shown

    async def _run(self, sandbox: Sandbox) -> None:
        if sandbox.guest is not None and sandbox.is_paused:
            try:
                await sandbox.guest.thaw()
            except GuestGoneError:
                await sandbox.stop_guest()
        if self._closed:
            raise BootError("The sandbox server is stopping.")
        if sandbox.guest is None:
            directory = self.directory(sandbox.record.sandbox_id)
            sandbox.guest = await boot(sandbox.record, directory, self._surroundings)
            pid = sandbox.guest.process.pid
            sandbox.record.process = (pid, started_at(pid) or 0)
            self._spawn(self._notice_end(sandbox, sandbox.guest))
        sandbox.record.state = State.RUNNING
        self._store.save(sandbox.record)
        self.arm(sandbox)

    async def _pause(self, sandbox: Sandbox, *, keep_memory: bool) -> None:
        # Written first: a server that dies here finds it paused, which is what it then is.
        sandbox.record.state = State.PAUSED
        self._store.save(sandbox.record)
        sandbox.disarm()
        if keep_memory and sandbox.guest is not None:
            try:
                await sandbox.guest.freeze()
            except GuestGoneError:
                await sandbox.stop_guest()
        else:
            await sandbox.stop_guest()

    async def _remove(self, sandbox: Sandbox) -> None:
        sandbox.removed = True
        self._sandboxes.pop(sandbox.record.sandbox_id, None)
        sandbox.disarm()
        sandbox.close_listeners()
        await sandbox.stop_guest()
        await asyncio.to_thread(self._store.remove, sandbox.record.sandbox_id)

    async def _notice_end(self, sandbox: Sandbox, guest: Guest) -> None:
        await guest.gone.wait()
        async with sandbox.lock:
            if sandbox.guest is guest:
                log.warning("Sandbox %s ended by itself; it is paused now.", sandbox.record.sandbox_id)
                await self._pause(sandbox, keep_memory=False)

    async def _time_out(self, sandbox: Sandbox) -> None:
        async with sandbox.lock:
            if not sandbox.is_due:
                return
            if sandbox.record.pause_on_timeout:
                await self._pause(sandbox, keep_memory=sandbox.record.keep_memory_on_timeout)
            else:
                await self._remove(sandbox)

    async def _release(self, sandbox: Sandbox) -> None:
        async with sandbox.lock:
            sandbox.disarm()
            sandbox.close_listeners()
            await sandbox.stop_guest()

    async def _take_up(self, record: Record) -> None:
        await asyncio.to_thread(reap_leftover, record)
        sandbox = Sandbox(record)
        self._sandboxes[record.sandbox_id] = sandbox
        if sandbox.is_due and not record.pause_on_timeout:
            await self._remove(sandbox)
            return
        record.state, record.process = State.PAUSED, None
        for port in list(record.previews):
            await sandbox.preview(port)
        self._store.save(record)

    def _of_key(self, key: str | None) -> Sandbox | None:
        found = (sandbox for sandbox in self._sandboxes.values() if sandbox.record.idempotency_key == key)
        return next(found, None) if key else None

    def arm(self, sandbox: Sandbox) -> None:
        """Let a sandbox time out when its record says."""
        sandbox.arm(lambda: self._spawn(self._time_out(sandbox)))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
