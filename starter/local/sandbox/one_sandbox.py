"""One sandbox: its record, its guest while it runs, its timer and its preview listeners. Decides nothing."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from starter.local.sandbox.copies import replace_files
from starter.local.sandbox.guest_process import Guest
from starter.local.sandbox.preview import listen, port_of
from starter.local.sandbox.records import Record, State, now
from starter.local.sandbox.splice import Connection


class SandboxNotFoundError(LookupError):
    """There is no such sandbox."""


class NotRunningError(ConnectionError):
    """The sandbox is paused; its data plane answers nobody."""


class Sandbox:
    """What this server holds of one sandbox; its lock is held by whoever changes its state."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.guest: Guest | None = None
        self.lock = asyncio.Lock()
        self.removed = False
        self.stale_resumes = 0
        """How many resumes bring back old files: a fault."""
        self._timer: asyncio.TimerHandle | None = None
        self._previews: dict[int, asyncio.Server] = {}

    @property
    def is_paused(self) -> bool:
        """Whether it is paused."""
        return self.record.state is State.PAUSED

    @property
    def is_due(self) -> bool:
        """Whether it runs and its timeout has passed."""
        return not self.removed and not self.is_paused and self.record.end_at <= now()

    def check_present(self) -> None:
        """Check that it was not removed while its lock was waited for.

        Raises:
            SandboxNotFoundError: it was.

        """
        if self.removed:
            raise SandboxNotFoundError(f"Sandbox {self.record.sandbox_id!r} not found.")

    def running_guest(self) -> Guest:
        """Return the guest.

        Raises:
            NotRunningError: the sandbox is paused.

        """
        if self.guest is None or self.is_paused:
            raise NotRunningError("The sandbox is paused; connect to it first.")
        return self.guest

    async def open_port(self, port: int) -> Connection:
        """Open a connection to a port inside.

        Raises:
            ConnectionRefusedError: nothing listens there.
            NotRunningError: the sandbox is paused.

        """
        return await self.running_guest().open_port(port)

    def stale_files(self, directory: Path) -> Path:
        """Return where old files are kept for resumes that bring them back."""
        return directory / "stale"

    @asynccontextmanager
    async def still(self) -> AsyncGenerator[None]:
        """Hold it as it is while nothing in it runs.

        Raises:
            SandboxNotFoundError: it was removed.

        """
        async with self.lock:
            self.check_present()
            guest = None if self.is_paused else self.guest
            if guest is not None:
                await guest.freeze()
            try:
                yield
            finally:
                if guest is not None:
                    await guest.thaw()

    async def go_stale(self, directory: Path) -> None:
        """Put old files in the place of its own, where a fault wants that; its processes end."""
        if self.stale_resumes > 0:
            self.stale_resumes -= 1
            await self.stop_guest()
            await replace_files(directory, self.stale_files(directory))

    async def fill_disk(self, *, seconds: float) -> None:
        """Let its disk be full for so long; a sandbox that does not run is spared."""
        if self.guest is not None and not self.is_paused:
            await self.guest.fill_disk(seconds=seconds)

    async def stop_guest(self) -> None:
        """End the guest, if there is one, with all its processes."""
        guest, self.guest = self.guest, None
        if guest is not None:
            await guest.stop()

    async def preview(self, port: int) -> int:
        """Return the 127.0.0.1 port that shows a port inside, listening on it from now on."""
        if port not in self._previews:
            wanted = self.record.previews.get(port)
            server = await listen(lambda: self.open_port(port), wanted=wanted)
            self._previews[port] = server
            self.record.previews[port] = port_of(server)
        return self.record.previews[port]

    def live_for(self, seconds: int, *, longest_run: timedelta) -> None:
        """Let it time out so long from now, silently no later than its longest run ends, as E2B does."""
        self.record.end_at = min(now() + timedelta(seconds=seconds), self.record.run_began_at + longest_run)

    def arm(self, on_time_out: Callable[[], None]) -> None:
        """Call back when the timeout has passed, in place of any earlier call."""
        self.disarm()
        seconds = max(0.0, (self.record.end_at - now()).total_seconds())
        self._timer = asyncio.get_running_loop().call_later(seconds, on_time_out)

    def disarm(self) -> None:
        """Forget the timeout."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close_listeners(self) -> None:
        """Stop listening for previews."""
        for server in self._previews.values():
            server.close()
        self._previews.clear()
