"""Processes of a sandbox and the fan-out of their output; knows no protocol beyond E2B's event messages.

As E2B does: output nobody follows is dropped, a follower that leaves kills nothing, a deadline kills the
process itself and not what it left in the background, and an exit code can be asked for a while after.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Generator

from e2b.envd.process.process_pb import ProcessConfig, ProcessEvent, ProcessInfo
from protobuf import Oneof

CHUNK = 65536
FOLLOWER_BACKLOG = 64
EXIT_RETAINED_SECONDS = 30.0


class Follower:
    """One reader of a process's events; a slow one holds the process back, one that left does not."""

    def __init__(self) -> None:
        self._events: asyncio.Queue[ProcessEvent] = asyncio.Queue(FOLLOWER_BACKLOG)
        self._left = False

    async def put(self, event: ProcessEvent) -> None:
        """Hand over an event, waiting while the backlog is full."""
        if not self._left:
            await self._events.put(event)

    async def get(self, *, seconds: float | None) -> ProcessEvent | None:
        """Return the next event, or None when none came within `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                return await self._events.get()
        except TimeoutError:
            return None

    def leave(self) -> None:
        """Stop reading, and free a writer that waits."""
        self._left = True
        while not self._events.empty():
            self._events.get_nowait()


class SandboxProcess:
    """One command or terminal started in the sandbox."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        *,
        config: ProcessConfig,
        tag: str | None,
        terminal: int | None = None,
    ) -> None:
        self.process = process
        self.config = config
        self.tag = tag
        self.terminal = terminal
        self.ended: ProcessEvent | None = None
        self._followers: set[Follower] = set()

    @property
    def pid(self) -> int:
        """The process id inside the sandbox."""
        return self.process.pid

    def info(self) -> ProcessInfo:
        """Describe the process as E2B lists it."""
        return ProcessInfo(config=self.config, pid=self.pid, tag=self.tag)

    def follow(self) -> Follower:
        """Add a reader of the events to come."""
        follower = Follower()
        self._followers.add(follower)
        return follower

    def unfollow(self, follower: Follower) -> None:
        """Remove a reader."""
        self._followers.discard(follower)
        follower.leave()

    def send_signal(self, number: signal.Signals) -> None:
        """Signal the process itself, not its group.

        Raises:
            ProcessLookupError: it has ended.

        """
        self.process.send_signal(number)

    async def write(self, data: bytes) -> None:
        """Write to standard input or the terminal.

        Raises:
            BrokenPipeError: nothing reads it.

        """
        if self.terminal is not None:
            await asyncio.to_thread(_write_all, self.terminal, data)
        elif self.process.stdin is None or self.process.stdin.is_closing():
            raise BrokenPipeError("stdin is not enabled or closed")
        else:
            self.process.stdin.write(data)
            await self.process.stdin.drain()

    def close_input(self) -> None:
        """Signal end of file on standard input."""
        if self.process.stdin is not None:
            self.process.stdin.close()

    async def run(self) -> None:
        """Publish output until every pipe is closed, then the end."""
        await asyncio.gather(*[self._pump(name, stream) for name, stream in await self._streams()])
        self.ended = _end_event(await self.process.wait())
        await self._publish(self.ended)
        if self.terminal is not None:
            os.close(self.terminal)

    async def _streams(self) -> list[tuple[str, asyncio.StreamReader]]:
        if self.terminal is not None:
            return [("pty", await _terminal_reader(self.terminal))]
        pairs = [("stdout", self.process.stdout), ("stderr", self.process.stderr)]
        return [(name, stream) for name, stream in pairs if stream is not None]

    async def _pump(self, name: str, stream: asyncio.StreamReader) -> None:
        # A terminal whose last writer is gone reads as EIO, not as end of file.
        with contextlib.suppress(OSError):
            while data := await stream.read(CHUNK):
                await self._publish(_data_event(name, data))

    async def _publish(self, event: ProcessEvent) -> None:
        for follower in list(self._followers):
            await follower.put(event)


class ProcessTable:
    """Every process started through E2B's API in this sandbox, by pid and by tag."""

    def __init__(self) -> None:
        self._processes: dict[int, SandboxProcess] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._starting = 0

    @property
    def is_starting(self) -> bool:
        """Whether a process is being started that is not in the table yet."""
        return self._starting > 0

    @contextlib.contextmanager
    def starting(self) -> Generator[None]:
        """Mark the time in which a process is started and added."""
        self._starting += 1
        try:
            yield
        finally:
            self._starting -= 1

    def add(self, process: SandboxProcess, *, seconds: float | None) -> None:
        """Run a started process, killed after `seconds`, and forget it a while after its end."""
        self._processes[process.pid] = process
        task = asyncio.create_task(self._run(process, seconds=seconds))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, process: SandboxProcess, *, seconds: float | None) -> None:
        loop = asyncio.get_running_loop()
        deadline = None if seconds is None else loop.call_later(seconds, _kill, process)
        try:
            await process.run()
        finally:
            if deadline is not None:
                deadline.cancel()
            loop.call_later(EXIT_RETAINED_SECONDS, self._forget, process)

    def _forget(self, process: SandboxProcess) -> None:
        if self._processes.get(process.pid) is process:
            del self._processes[process.pid]

    def running(self) -> list[SandboxProcess]:
        """Return the processes that have not ended."""
        return [process for process in self._processes.values() if process.ended is None]

    def find(self, *, pid: int | None = None, tag: str | None = None) -> SandboxProcess | None:
        """Return a process, running or ended a moment ago, by pid or by tag."""
        if pid is not None:
            return self._processes.get(pid)
        return next((process for process in self._processes.values() if process.tag == tag), None)


def _kill(process: SandboxProcess) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGKILL)


def _data_event(name: str, data: bytes) -> ProcessEvent:
    match name:
        case "stdout":
            output = ProcessEvent.DataEvent(output=Oneof("stdout", data))
        case "stderr":
            output = ProcessEvent.DataEvent(output=Oneof("stderr", data))
        case _:
            output = ProcessEvent.DataEvent(output=Oneof("pty", data))
    return ProcessEvent(event=Oneof("data", output))


def _end_event(code: int) -> ProcessEvent:
    if code < 0:
        status = f"signal: {signal.strsignal(-code) or -code}".lower()
        end = ProcessEvent.EndEvent(exit_code=-1, exited=False, status=status, error=status)
    else:
        status = f"exit status {code}"
        end = ProcessEvent.EndEvent(
            exit_code=code, exited=True, status=status, error=status if code else None
        )
    return ProcessEvent(event=Oneof("end", end))


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


async def _terminal_reader(descriptor: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    pipe = os.fdopen(os.dup(descriptor), "rb", buffering=0)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    return reader


async def events_of(
    process: SandboxProcess, *, seconds: float | None, keepalive: float
) -> AsyncIterator[ProcessEvent]:
    """Yield start, output, keepalives and end.

    Raises:
        TimeoutError: `seconds` passed before the end.

    """
    follower = process.follow()
    clock = asyncio.get_running_loop().time
    deadline = None if seconds is None else clock() + seconds
    try:
        yield ProcessEvent(event=Oneof("start", ProcessEvent.StartEvent(pid=process.pid)))
        event = process.ended
        while event is None or not _is_end(event):
            left = keepalive if deadline is None else min(keepalive, deadline - clock())
            if left <= 0:
                raise TimeoutError
            event = await follower.get(seconds=left)
            if event is not None and not _is_end(event):
                yield event
            elif event is None:
                yield ProcessEvent(event=Oneof("keepalive", ProcessEvent.KeepAlive()))
        yield event
    finally:
        process.unfollow(follower)


def _is_end(event: ProcessEvent) -> bool:
    return event.event is not None and event.event.field == "end"
