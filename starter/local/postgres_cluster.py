"""One Postgres cluster on disk: where it lives, made whole or not at all, its version, its stale locks.

It runs initdb and never the server.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

from starter.local.home import Home, is_open, own_directory
from starter.local.parts import Part, PartFailed
from starter.local.postgres_binaries import Binaries, copy_for_others, find_binaries
from starter.local.processes import program_of
from starter.local.supervisor import Service, end, spawn, tail

USER = "nightshift"
DATABASE = "nightshift"
PORT = 5432
"""Only names the socket's file: nothing listens on TCP."""
STOPPING_LIMIT = 20.0
"""Seconds that a postmaster whose supervisor died gets to end."""
INITDB_LIMIT = 120.0
ROOTS_DATA = Path("/var/db/nightshift" if sys.platform == "darwin" else "/var/lib/nightshift")
"""Where root's cluster lives when the checkout is closed to the plain user that runs it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """One cluster: its programs, its data, its socket, and who runs it."""

    binaries: Binaries
    data: Path
    sockets: Path
    password: str
    user: int | None
    group: int | None

    def url(self, *, database: str = DATABASE) -> str:
        """The address as SQLAlchemy takes it, with the password."""
        host = quote(str(self.sockets), safe="/")
        return f"postgresql+asyncpg://{USER}:{self.password}@/{database}?host={host}&port={PORT}"


def root_directory(home: Home, *, fast: bool) -> Path:
    """Where the files are: in the checkout, unless root starts it and others cannot reach that."""
    if os.geteuid() != 0 or is_open(home.directory):
        return home.directory / "postgres"
    # What a test leaves goes with its sockets, in the temporary directory.
    outside = home.sockets() if fast else ROOTS_DATA / home.installation
    return outside / "postgres"


def lay_out(home: Home, *, fast: bool) -> Cluster:
    """Find the programs and make the directories."""
    binaries = find_binaries()
    runner = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    directory = root_directory(home, fast=fast)
    directory.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    directory.mkdir(mode=0o711 if runner else 0o700, exist_ok=True)
    if directory.parent != home.directory and not fast:
        _point_to(directory, name=home.directory / "postgres")
    if runner:
        binaries = copy_for_others(binaries, into=directory)
    sockets = home.sockets() / "pg"
    own_directory(sockets, mode=0o700, owner=runner.pw_uid if runner else None)
    return Cluster(
        binaries=binaries,
        data=directory / "data",
        sockets=sockets,
        password=home.secret("postgres"),
        user=runner.pw_uid if runner else None,
        group=runner.pw_gid if runner else None,
    )


async def make_ready(cluster: Cluster, *, logs: Path) -> None:
    """Make the cluster on first use; PartFailed when that fails, or it is of another version or in use."""
    if not await asyncio.to_thread((cluster.data / "PG_VERSION").exists):
        await _make(cluster, log=logs / "initdb.log")
    await asyncio.to_thread(_check_version, cluster)
    for lock in (cluster.data / "postmaster.pid", cluster.sockets / f".s.PGSQL.{PORT}.lock"):
        await _clear_stale(lock)


def _point_to(directory: Path, *, name: Path) -> None:
    name.unlink(missing_ok=True)
    name.symlink_to(directory)


async def _make(cluster: Cluster, *, log: Path) -> None:
    """Run initdb beside the final place and rename, so that a half-made cluster is never taken for one."""
    unfinished = cluster.data.with_name("data.unfinished")
    password = cluster.sockets / "password"
    await asyncio.to_thread(_prepare, cluster, unfinished, password)
    try:
        await _initdb(cluster, unfinished, password, log)
    finally:
        password.unlink()
    unfinished.rename(cluster.data)


def _prepare(cluster: Cluster, directory: Path, password: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    password.unlink(missing_ok=True)
    with os.fdopen(os.open(password, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(cluster.password)
    directory.mkdir(mode=0o700)
    if cluster.user is not None:
        for path in (password, directory):
            os.chown(path, cluster.user, -1)


async def _initdb(cluster: Cluster, directory: Path, password: Path, log: Path) -> None:
    argv = (
        str(cluster.binaries.directory / "initdb"),
        f"--pgdata={directory}",
        f"--username={USER}",
        f"--pwfile={password}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        "--no-sync",
    )
    service = Service(name="initdb", argv=argv, user=cluster.user, group=cluster.group, cwd=Path("/"))
    process = await spawn(service, log=log)
    try:
        async with asyncio.timeout(INITDB_LIMIT):
            code = await process.wait()
    finally:
        await end(process, stop_signal=signal.SIGTERM, limit=timedelta(seconds=5))
    if code != 0:
        raise PartFailed(
            Part.POSTGRES, why=f"initdb failed: {tail(log)}", fix="free disk space, or set DATABASE_URL"
        )


def _check_version(cluster: Cluster) -> None:
    written_by = (cluster.data / "PG_VERSION").read_text().strip()
    if written_by == str(cluster.binaries.major):
        return
    raise PartFailed(
        Part.POSTGRES,
        why=f"{cluster.data} is of Postgres {written_by}, the programs are of {cluster.binaries.version}",
        fix=f"install Postgres {written_by}, or set DATABASE_URL, or move that directory away to begin anew",
    )


async def _clear_stale(lock: Path) -> None:
    """Remove the lock of a dead postmaster, which Postgres refuses once another process has its number."""
    deadline = time.monotonic() + STOPPING_LIMIT
    while _is_held(lock):
        if time.monotonic() > deadline:
            raise PartFailed(
                Part.POSTGRES,
                why=f"another Postgres, named in {lock}, runs on this data",
                fix="stop that process (its id is the first line of the file)",
            )
        await asyncio.sleep(0.1)
    await asyncio.to_thread(lock.unlink, missing_ok=True)


def _is_held(lock: Path) -> bool:
    try:
        first = lock.read_text().partition("\n")[0].strip()
    except FileNotFoundError:
        return False
    return first.isdigit() and program_of(int(first)) == "postgres"
