"""Starts the local sandbox server as a process of its own, for tests that speak to it with E2B's SDK."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx2
import pytest

ROOT = Path(__file__).parents[1]
KEY = "a key of this test"


async def eventually(condition: Callable[[], Awaitable[bool]], *, seconds: float = 20.0) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.02)  # the other side is another process: there is no event to wait for


@dataclass
class SandboxServer:
    """One server process over one data directory; it may be killed and started again."""

    data: Path
    port: int
    uploads: str = ""
    python: str = sys.executable
    user: str | None = None
    witness: Path | None = None
    """A file outside that sandboxes may write."""
    prefix: tuple[str, ...] = ()
    """What the server's command line is run by."""
    options: tuple[str, ...] = ()
    """More of its command line: limits."""
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def client(self) -> dict[str, Any]:
        """What the SDK's methods are told to reach it."""
        return {"api_url": self.url, "sandbox_url": self.url, "api_key": KEY}

    @property
    def log(self) -> str:
        """What it printed."""
        return (self.data / "log").read_text()

    async def start(self) -> None:
        """Start it and wait until it serves."""
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": python_path(),
            "HOME": str(Path.home()),
            "NIGHTSHIFT_LOCAL_KEY": KEY,
            "NIGHTSHIFT_UPLOAD_HOSTS": self.uploads,
            "NIGHTSHIFT_WITNESS": str(self.witness or ""),
        }
        with (self.data / "log").open("ab") as log:
            where = ["--port", str(self.port), "--data", str(self.data)]
            self.process = subprocess.Popen(  # noqa: ASYNC220 -- a fork of a test
                [*self.prefix, self.python, "-m", "starter.local.sandbox", *where, *self.options],
                env=environment,
                cwd="/",
                stdout=log,
                stderr=log,
                user=self.user,
                group=None if self.user is None else _group_of(self.user),
                extra_groups=None if self.user is None else [],
            )
        await eventually(self._is_up)

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it by a signal and wait for its end."""
        if self.process is not None:
            process, self.process = self.process, None
            process.send_signal(number)
            await asyncio.to_thread(process.wait, 20)

    async def preview(self, sandbox_id: str, *, port: int) -> str:
        """Ask for the address of a port inside."""
        async with httpx2.AsyncClient(trust_env=False) as http:
            path = f"{self.url}/sandboxes/{sandbox_id}/preview/{port}"
            return (await http.get(path, headers={"x-api-key": KEY})).json()["url"]

    async def fault(self, **fault: Any) -> list[dict[str, Any]]:
        """Set a fault and give those to come."""
        async with httpx2.AsyncClient(trust_env=False) as http:
            answer = await http.post(f"{self.url}/_control/faults", json=fault, headers={"x-api-key": KEY})
            return answer.raise_for_status().json()

    async def clear_faults(self) -> None:
        """Forget every fault."""
        async with httpx2.AsyncClient(trust_env=False) as http:
            await http.delete(f"{self.url}/_control/faults", headers={"x-api-key": KEY})

    async def _is_up(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            raise AssertionError(f"The server ended at once: {self.log}")
        with suppress(httpx2.TransportError):
            async with httpx2.AsyncClient(trust_env=False) as http:
                return (await http.get(f"{self.url}/healthz")).status_code == 200
        return False


@dataclass
class CloudAccount:
    """A real account of E2B, for the tests that ask both it and the local server."""

    key: str = field(repr=False)

    @classmethod
    def of_environment(cls) -> Self:
        """Take the account whose key is set; skips the test where none is."""
        key = os.environ.get("E2B_API_KEY", "")
        if not key:
            pytest.skip("E2B_API_KEY is not set")
        return cls(key)

    @property
    def client(self) -> dict[str, Any]:
        """What the SDK's methods are told to reach it."""
        return {"api_key": self.key}


@asynccontextmanager
async def sandbox_server(*, user: str | None = None, **rest: Any) -> AsyncIterator[SandboxServer]:
    """Run a server over a fresh directory, which its user may enter, until the end of the block."""
    data = Path(tempfile.mkdtemp(prefix="nightshift-test-"))
    if user is not None:
        shutil.chown(data, user)
    server = SandboxServer(data, free_port(), user=user, **rest)
    try:
        await server.start()
        yield server
    finally:
        await server.stop()
        shutil.rmtree(data)


@asynccontextmanager
async def server_of(who: str, **rest: Any) -> AsyncIterator[SandboxServer]:
    """Run a server as "this user" or as another; skips the test where this machine lets nobody do that."""
    if who == "this user":
        async with sandbox_server(**rest) as started:
            yield started
        return
    python = python_of(who) if os.geteuid() == 0 else None
    if python is None:
        pytest.skip(
            "only root can try another user, and only where that user can run Python and this checkout"
        )
    async with sandbox_server(user=who, python=python, **rest) as started:
        yield started


def python_path() -> str:
    """Return where the checkout's modules and its installed packages are found."""
    return f"{ROOT}:{next(path for path in sys.path if path.endswith('site-packages'))}"


def python_of(user: str) -> str | None:
    """Return an interpreter with which another user can run the server, or None if this machine has none."""
    system = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, system):
        with suppress(OSError):
            environment = {"PYTHONPATH": python_path()}
            command = [python, "-c", "import starter.local.sandbox.__main__"]
            if (
                subprocess.run(
                    command, user=user, env=environment, cwd="/", check=False, capture_output=True
                ).returncode
                == 0
            ):
                return python
    return None


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def processes_of(sandbox_id: str) -> list[int]:
    """Return the live processes that carry a sandbox's id in their environment."""
    marker = f"E2B_SANDBOX_ID={sandbox_id}".encode()
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if marker in path.read_bytes():
                found.append(int(path.parent.name))
    return found


def _group_of(user: str) -> int:
    import pwd

    return pwd.getpwnam(user).pw_gid
