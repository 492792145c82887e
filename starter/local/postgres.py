"""The embedded Postgres: a server on a closed unix socket, as a plain user even when root starts it."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass
from pathlib import Path

from starter.local.clients import query_postgres
from starter.local.ground import Ground
from starter.local.parts import Part, Started
from starter.local.postgres_cluster import DATABASE, PORT, Cluster, lay_out, make_ready
from starter.local.supervisor import Service, plain_environment

READY_LINE = 7
SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


async def start(ground: Ground) -> Started:
    """Start the server on its cluster, and make sure of the database."""
    cluster = await asyncio.to_thread(lay_out, ground.home, fast=ground.fast)
    await make_ready(cluster, logs=ground.home.logs)
    await ground.supervisor.start(_service(cluster, fast=ground.fast))
    await _make_database(cluster)
    return Started(
        part=Part.POSTGRES,
        address=f"{cluster.sockets}/.s.PGSQL.{PORT}",
        version=cluster.binaries.version,
        environment={"DATABASE_URL": cluster.url()},
    )


def _service(cluster: Cluster, *, fast: bool) -> Service:
    settings = SETTINGS | {"unix_socket_directories": str(cluster.sockets)} | (FAST if fast else {})
    options = (word for name, value in settings.items() for word in ("-c", f"{name}={value}"))
    return Service(
        name=Part.POSTGRES,
        argv=(str(cluster.binaries.directory / "postgres"), "-D", str(cluster.data), *options),
        environment=plain_environment() | {"LC_ALL": "C"},
        cwd=Path("/"),
        user=cluster.user,
        group=cluster.group,
        # SIGTERM would wait for every client to leave.
        stop_signal=signal.SIGINT,
        ready=_Readiness(cluster.data / "postmaster.pid"),
        fix="free disk space or memory, or set DATABASE_URL to a Postgres of your own",
    )


@dataclass(frozen=True, slots=True)
class _Readiness:
    """The postmaster writes its own pid first and `ready` in line 8: no connection is needed to know."""

    file: Path

    async def __call__(self, pid: int) -> bool:
        try:
            lines = self.file.read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > READY_LINE and lines[0] == str(pid) and lines[READY_LINE].strip() == "ready"


async def _make_database(cluster: Cluster) -> None:
    first = cluster.url(database="postgres")
    known = await query_postgres(first, "SELECT array_agg(datname::text) FROM pg_database")
    if isinstance(known, list) and DATABASE not in known:
        await query_postgres(first, f'CREATE DATABASE "{DATABASE}"')
