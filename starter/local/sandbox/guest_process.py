"""A booted sandbox: the long-lived process it runs in, and the connections into it. Keeps no record."""

import asyncio
import json
import os
import select
import signal
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from starter.local.sandbox.bubblewrap import HOME, PATH, Isolation, guest_command, guest_environment
from starter.local.sandbox.channel import Channel, GuestGoneError
from starter.local.sandbox.egress import Egress
from starter.local.sandbox.limits import Limits
from starter.local.sandbox.records import Record

PROXY_PORT = 3128
STOP_SECONDS = 5.0


class BootError(Exception):
    """A sandbox could not be started; the text ends with what it printed."""


@dataclass(frozen=True)
class Surroundings:
    """What every guest of this server is booted with."""

    isolation: Isolation
    egress: Egress
    limits: Limits


class Guest:
    """One booted sandbox."""

    def __init__(
        self, process: subprocess.Popen[bytes], end: socket.socket, *, sandbox_id: str, isolated: bool
    ) -> None:
        self.process = process
        self.sandbox_id = sandbox_id
        self._isolated = isolated
        self.gone = asyncio.Event()
        self._frozen = False
        self._channel = Channel(end, on_close=self.gone.set)
        self._servers: list[asyncio.Server] = []
        self._open: set[asyncio.StreamWriter] = set()

    async def configure(self, record: Record, directory: Path, surroundings: Surroundings) -> None:
        """Tell the guest its settings, and serve the ports of its way out.

        Raises:
            GuestGoneError: it ended or does not answer.

        """
        ports = surroundings.egress.ports(PROXY_PORT) if self._isolated else []
        settings = {
            "home": HOME if self._isolated else str(directory / "home"),
            "isolated": self._isolated,
            "listen": ports,
            "places": ["/tmp" if self._isolated else str(directory / "tmp")],  # noqa: S108 -- its own
            "memory": surroundings.limits.memory_mb << 20,
            "processes": surroundings.limits.processes,
            "disk": surroundings.limits.disk_mb << 20,
            "environment": _environment(record, directory, isolated=self._isolated)
            | surroundings.isolation.testimony,
        }
        sockets = await self._channel.ask(json.dumps(settings).encode())
        for port, listener in zip(ports, sockets, strict=True):
            handler = surroundings.egress.handler(port, is_proxy=port == PROXY_PORT, internet=record.internet)
            self._servers.append(await asyncio.start_server(handler, sock=listener))

    async def open_http(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection to the data plane.

        Raises:
            GuestGoneError: the guest ended or does not answer.

        """
        [found] = await self._channel.ask(b"http")
        return self._keep(*await asyncio.open_connection(sock=found))

    async def open_port(self, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection to a port inside, on IPv4 or else IPv6 loopback.

        Raises:
            ConnectionRefusedError: nothing listens there.
            GuestGoneError: the guest ended or does not answer.

        """
        for message, address in ((b"tcp4", "127.0.0.1"), (b"tcp6", "::1")):
            [found] = await self._channel.ask(message)
            with suppress(OSError):
                await asyncio.get_running_loop().sock_connect(found, (address, port))
                return self._keep(*await asyncio.open_connection(sock=found))
            found.close()
        raise ConnectionRefusedError(f"Nothing listens on port {port} in the sandbox.")

    def _keep(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self._open = {kept for kept in self._open if not kept.is_closing()}
        self._open.add(writer)
        if self._frozen:
            writer.transport.abort()
        return reader, writer

    async def freeze(self) -> None:
        """Stop every process inside and cut the connections into it."""
        self._frozen = True
        await self._channel.ask(b"freeze")
        for writer in self._open:
            writer.transport.abort()

    async def thaw(self) -> None:
        """Let every process inside go on."""
        await self._channel.ask(b"thaw")
        self._frozen = False

    async def fill_disk(self, *, seconds: float) -> None:
        """Let every write inside beyond a little fail for so long.

        Raises:
            GuestGoneError: it ended or does not answer.

        """
        await self._channel.ask(json.dumps({"full": seconds}).encode())

    async def stop(self) -> None:
        """End every process inside; returns when none is left."""
        self._channel.close()
        self.gone.set()
        for server in self._servers:
            server.close()
        for writer in self._open:
            writer.transport.abort()
        await asyncio.to_thread(reap, self.process.pid, seconds=STOP_SECONDS)
        await asyncio.to_thread(self.process.wait)
        if not self._isolated:
            await asyncio.to_thread(_kill_carriers, self.sandbox_id)


async def boot(record: Record, directory: Path, surroundings: Surroundings) -> Guest:
    """Start a sandbox's guest and wait until it serves.

    Raises:
        BootError: it did not come up.

    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs, (directory / "guest.log").open("ab") as log:
        command = guest_command(
            surroundings.isolation,
            directory,
            channel=theirs.fileno(),
            shared_memory=surroundings.limits.shared_memory,
        )
        # On the main thread: a parent-death signal follows the thread that forked, not the process.
        process = subprocess.Popen(  # noqa: ASYNC220 -- a fork takes a millisecond and needs this thread
            command,
            env=guest_environment(surroundings.isolation, record.sandbox_id),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
    isolated = surroundings.isolation.isolated
    guest = Guest(process, ours, sandbox_id=record.sandbox_id, isolated=isolated)
    try:
        await guest.configure(record, directory, surroundings)
    except GuestGoneError as error:
        await guest.stop()
        printed = (directory / "guest.log").read_bytes()[-2000:].decode(errors="replace")
        raise BootError(f"The sandbox did not start: {error}\n{printed}") from error
    return guest


def _environment(record: Record, directory: Path, *, isolated: bool) -> dict[str, str]:
    proxy = f"http://127.0.0.1:{PROXY_PORT}"
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), proxy)
    direct = dict.fromkeys(("no_proxy", "NO_PROXY"), "localhost,127.0.0.1")
    return {
        "PATH": PATH,
        "HOME": HOME if isolated else str(directory / "home"),
        "LANG": "C.UTF-8",
        "SHELL": "/bin/bash",
        "E2B_SANDBOX": "true",
        "E2B_SANDBOX_ID": record.sandbox_id,
        "E2B_TEMPLATE_ID": record.template_id,
        **({**proxies, **direct} if isolated else {}),
        **record.environment,
    }


def started_at(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot, or None if there is none."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return None


def reap_leftover(record: Record) -> None:
    """Kill what an earlier server ran a sandbox in, and what still carries the sandbox's id."""
    if record.process is not None:
        pid, started = record.process
        if started_at(pid) == started:
            reap(pid, seconds=0)
    _kill_carriers(record.sandbox_id)


def reap(pid: int, *, seconds: float) -> None:
    """Wait at most `seconds` for a guest's process to end, then kill it with all it contains."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if not _ended(handle, seconds):
            # The children first: the namespace dies whole with its first process, and is waited for.
            children = Path(f"/proc/{pid}/task/{pid}/children")
            with suppress(OSError):
                for child in children.read_text().split():
                    _kill(int(child))
            if not _ended(handle, 1.0):
                _kill(pid)
                _ended(handle, STOP_SECONDS)
    finally:
        os.close(handle)


def _ended(handle: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def _kill_carriers(sandbox_id: str) -> None:
    """Kill what carries a sandbox's id until none is left: what is killed may just have started another."""
    deadline = time.monotonic() + STOP_SECONDS
    while (carriers := _carriers(sandbox_id)) and time.monotonic() < deadline:
        for pid in carriers:
            _kill(pid)
        time.sleep(0.01)


def _carriers(sandbox_id: str) -> list[int]:
    # Without a namespace only its environment tells that a process came from a sandbox.
    marker = f"E2B_SANDBOX_ID={sandbox_id}\0".encode()
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if marker in path.read_bytes():
                found.append(int(path.parent.name))
    return found
