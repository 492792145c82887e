"""The guest's end of the channel to the server outside, and the serving of the data plane over it.

The server asks in single messages and is answered with sockets of this network namespace, so that no
path and no port joins inside and outside. When the channel closes the sandbox ends.
"""

import asyncio
import json
import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from e2b.envd.filesystem.filesystem_connect import FilesystemASGIApplication
from e2b.envd.process.process_connect import ProcessASGIApplication
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from starter.local.sandbox.guest.asgi import Receive, Refused, Scope, Send, respond, respond_json
from starter.local.sandbox.guest.disk import Disk
from starter.local.sandbox.guest.files import Files
from starter.local.sandbox.guest.filesystem_service import FilesystemService
from starter.local.sandbox.guest.orphans import act_as_first_process
from starter.local.sandbox.guest.paths import Paths
from starter.local.sandbox.guest.population import Population
from starter.local.sandbox.guest.process_service import ProcessService
from starter.local.sandbox.guest.processes import ProcessTable
from starter.local.sandbox.guest.spawn import Surroundings

MESSAGE_BYTES = 256 * 1024
ASGI = Callable[[Scope, Receive, Send], Any]


class DataPlane:
    """Routes a request to a service by its path."""

    def __init__(self, surroundings: Surroundings, table: ProcessTable) -> None:
        files = Files(surroundings.paths)
        # The stubs type their ASGI arguments with a package that is not installed.
        processes: Any = ProcessASGIApplication(ProcessService(table, surroundings=surroundings))
        filesystem: Any = FilesystemASGIApplication(FilesystemService(surroundings.paths))
        self._routes: dict[str, ASGI] = {
            "files": files,
            "process.Process": processes,
            "filesystem.Filesystem": filesystem,
            "health": _health,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        route = self._routes.get(scope["path"].split("/")[1], _missing)
        try:
            await route(scope, receive, send)
        except Refused as refused:
            await respond_json(send, refused.status, {"code": refused.status, "message": refused.message})


async def _missing(scope: Scope, _receive: Receive, _send: Send) -> None:
    raise Refused(404, f"no such route: {scope['path']}")


async def _health(_scope: Scope, _receive: Receive, send: Send) -> None:
    await respond(send, 204)


class Channel:
    """Answers the server's messages until it closes the channel."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self.table = ProcessTable()
        self._protocol: Callable[[], H11Protocol] | None = None
        self._connecting: set[asyncio.Future[Any]] = set()
        self._population = Population(isolated=True)
        self._disk: Disk | None = None
        self._holding: asyncio.Task[None] | None = None

    def answer(self) -> None:
        """Read one message and answer it with text and descriptors."""
        message = self._channel.recv(MESSAGE_BYTES)
        if not message:
            self._end()
            return
        sockets: list[socket.socket] = []
        try:
            sockets = self._sockets_for(message)
            reply = b"ok"
        except OSError as error:
            reply = f"{error}".encode()
        socket.send_fds(self._channel, [reply], [found.fileno() for found in sockets])
        for found in sockets:
            found.close()

    def _sockets_for(self, message: bytes) -> list[socket.socket]:
        match message:
            case b"http":
                return [self._open_http()]
            case b"tcp4":
                return [socket.socket(socket.AF_INET)]
            case b"tcp6":
                return [socket.socket(socket.AF_INET6)]
            case b"freeze":
                self._population.is_frozen = True
                self._signal_all(signal.SIGSTOP)
            case b"thaw":
                self._signal_all(signal.SIGCONT)
                self._population.is_frozen = False
            case _:
                return self._told(json.loads(message))
        return []

    def _told(self, message: dict[str, Any]) -> list[socket.socket]:
        if self._disk is None:
            return self._configure(message)
        self._disk.fill(message["full"])
        return []

    def _configure(self, settings: dict[str, Any]) -> list[socket.socket]:
        self._limit(settings)
        surroundings = Surroundings(Paths(Path(settings["home"])), settings["environment"])
        app = DataPlane(surroundings, self.table)
        config = Config(app, http="h11", ws="none", lifespan="off", log_config=None, access_log=False)
        config.load()
        self._protocol = partial(H11Protocol, config=config, server_state=ServerState(), app_state={})
        return [_listener(port) for port in settings["listen"]]

    def _limit(self, settings: dict[str, Any]) -> None:
        self._population = Population(isolated=settings["isolated"])
        self._disk = Disk(self._population)
        self._disk.limit(settings["disk"], [Path(settings["home"]), *map(Path, settings["places"])])
        holding = self._population.hold(most=settings["processes"], memory=settings["memory"])
        self._holding = asyncio.create_task(holding)

    def _open_http(self) -> socket.socket:
        if self._protocol is None:
            raise OSError("not configured")
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        task = asyncio.ensure_future(asyncio.get_running_loop().connect_accepted_socket(self._protocol, ours))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        return theirs

    def _signal_all(self, number: signal.Signals) -> None:
        if self._population.is_isolated:
            # -1 is every process of this pid namespace but its first and this one, in one step.
            _signal_quietly(os.kill, -1, number)
            return
        for process in self.table.running():
            _signal_quietly(os.killpg, process.pid, number)

    def _end(self) -> None:
        # In the namespace all die with its first process; without one the groups must be killed here.
        if not self._population.is_isolated:
            self._signal_all(signal.SIGKILL)
        os._exit(0)


def _listener(port: int) -> socket.socket:
    found = socket.socket(socket.AF_INET)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind(("127.0.0.1", port))
    found.listen(128)
    return found


def _signal_quietly(send: Callable[[int, int], None], target: int, number: signal.Signals) -> None:
    try:
        send(target, number)
    except (ProcessLookupError, PermissionError):
        return


async def _serve(end: socket.socket) -> None:
    channel = Channel(end)
    act_as_first_process(channel.table)
    asyncio.get_running_loop().add_reader(end.fileno(), channel.answer)
    await asyncio.Event().wait()


def serve(channel: socket.socket) -> None:
    """Serve the data plane until the channel closes, then end at once."""
    channel.set_inheritable(False)
    # Python's own handler would let a signal from inside end the first process.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    asyncio.run(_serve(channel))
