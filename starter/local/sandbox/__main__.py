"""The local sandbox server: E2B's control plane and data plane on one 127.0.0.1 port.

Run as `python -m starter.local.sandbox --port N --data DIR` with the API key in NIGHTSHIFT_LOCAL_KEY, and
in NIGHTSHIFT_UPLOAD_HOSTS the host:port of each object store that sandboxes may reach on a private address.
NIGHTSHIFT_WITNESS, for tests, names a file outside that every sandbox may write.
"""

import argparse
import asyncio
import logging
import os
import socket
import sys
from asyncio.subprocess import DEVNULL
from importlib.util import cache_from_source
from pathlib import Path

import uvicorn
from typing_extensions import override

from starter.local.sandbox.bubblewrap import GUEST_MODULE, GUEST_PACKAGE, find_isolation
from starter.local.sandbox.control import Control
from starter.local.sandbox.egress import Egress, parse_upload_hosts
from starter.local.sandbox.faults import Faults
from starter.local.sandbox.fleet import Fleet
from starter.local.sandbox.gateway import Gateway
from starter.local.sandbox.guest.asgi import Receive, Scope, Send
from starter.local.sandbox.guest_process import Surroundings
from starter.local.sandbox.limits import Limits
from starter.local.sandbox.records import RecordStore
from starter.local.sandbox.sabotage import Saboteur
from starter.local.sandbox.snapshots import Snapshots

UNISOLATED = (
    "BUBBLEWRAP DOES NOT RUN HERE: sandboxes are plain processes that can read and change "
    "everything this user can. Install bubblewrap and allow unprivileged user namespaces."
)

log = logging.getLogger("starter.local.sandbox")


class App:
    """Sends each request to the data plane or the control plane."""

    def __init__(self, fleet: Fleet, snapshots: Snapshots, *, api_key: str, port: int) -> None:
        faults = Faults()
        self._gateway = Gateway(fleet)
        domain = f"localhost:{port}"
        self._control = Control(fleet, faults, snapshots, api_key=api_key, domain=domain).app()
        self._saboteur = Saboteur(self._pass_on, faults, fleet)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self._saboteur(scope, receive, send, is_data_plane=self._gateway.wants(scope))

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._gateway if self._gateway.wants(scope) else self._control
        await app(scope, receive, send)


class _CutConnections(logging.Filter):
    """Drops uvicorn's complaint about responses cut on purpose."""

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        return "without completing response" not in record.getMessage()


class _Server(uvicorn.Server):
    """Ends the sandboxes before it waits for the responses that stream from them."""

    def __init__(self, config: uvicorn.Config, *, fleet: Fleet) -> None:
        super().__init__(config)
        self._fleet = fleet

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._fleet.close()
        await super().shutdown(sockets)


async def compile_guest() -> None:
    """Have the guest's modules compiled once: a sandbox sees them read-only and would do it at each boot."""
    if sys.dont_write_bytecode or all(map(_is_compiled, GUEST_PACKAGE.glob("*.py"))):
        return
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", GUEST_MODULE, stdin=DEVNULL)
    await process.wait()


def _is_compiled(source: Path) -> bool:
    compiled = Path(cache_from_source(str(source)))
    return compiled.exists() and compiled.stat().st_mtime >= source.stat().st_mtime


async def serve(
    *, port: int, data: Path, api_key: str, upload_hosts: str, limits: Limits, witness: Path | None = None
) -> None:
    """Serve until a signal to stop; every sandbox's processes have ended when this returns."""
    isolation = find_isolation(data / "etc", witness=witness)
    if not isolation.isolated:
        log.warning(UNISOLATED)
    compiling = asyncio.create_task(compile_guest())
    surroundings = Surroundings(isolation, Egress(parse_upload_hosts(upload_hosts)), limits)
    async with Fleet(RecordStore(data / "sandboxes"), surroundings) as fleet:
        app = App(fleet, Snapshots(data / "snapshots", fleet), api_key=api_key, port=port)
        config = uvicorn.Config(
            app,
            host="127.0.0.1",
            port=port,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        logging.getLogger("uvicorn.error").addFilter(_CutConnections())
        await _Server(config, fleet=fleet).serve()
    await compiling


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(description="E2B's protocol over sandboxes on this machine.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data", type=Path, required=True)
    Limits.add_options(parser)
    options = parser.parse_args()
    api_key = os.environ.get("NIGHTSHIFT_LOCAL_KEY", "")
    if not api_key:
        sys.exit("NIGHTSHIFT_LOCAL_KEY is not set: choose any text as the key that clients must send.")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    uploads = os.environ.get("NIGHTSHIFT_UPLOAD_HOSTS", "")
    named = os.environ.get("NIGHTSHIFT_WITNESS", "")
    serving = serve(
        port=options.port,
        data=options.data.absolute(),
        api_key=api_key,
        upload_hosts=uploads,
        limits=Limits.of(options),
        witness=Path(named) if named else None,
    )
    asyncio.run(serving)


if __name__ == "__main__":
    main()
