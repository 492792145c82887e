"""The embedded Temporal: the CLI's dev server on a database file, on loopback, marked as this checkout's."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import socket
import subprocess
from dataclasses import dataclass
from datetime import timedelta
from os import devnull
from pathlib import Path

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, UpdateNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from starter.local.binaries import cached
from starter.local.go import GoProgram, go_program
from starter.local.ground import Ground
from starter.local.parts import Part, PartFailed, Progress, Started
from starter.local.sdk_download import downloaded
from starter.local.supervisor import Service, plain_environment
from starter.local.temporal_settings import FILE, TemporalSettings, settle

CLI = GoProgram(
    name="temporal",
    version="1.5.1",
    package="github.com/temporalio/cli/cmd/temporal",
    expected=timedelta(minutes=5),
    oldest_go=(1, 24),
    fix="put the Temporal CLI on PATH, install Go, or set TEMPORAL_ADDRESS to a server of your own",
)
MARK = "nightshift_installation"
"""The key in the namespace's data that says which checkout started the server."""


async def start(ground: Ground) -> Started:
    """Start the dev server and mark it as ours."""
    program = await find_cli(progress=ground.progress)
    version = await asyncio.to_thread(_server_version, program)
    data = ground.home.part("temporal")
    _refuse_newer_data(data, version)
    settings = settle(
        ground.root / FILE, copy=ground.home.directory / FILE, ports=ground.ports, usual=ground.usual_ports
    )
    await ground.supervisor.start(_service(program, settings, data / "temporal.db", fast=ground.fast))
    await _mark(settings, ground.home.installation)
    (data / "engine").write_text(version + "\n")
    return Started(
        part=Part.TEMPORAL,
        address=settings.address,
        version=version,
        environment={
            "TEMPORAL_ADDRESS": settings.address,
            "TEMPORAL_NAMESPACE": settings.commands.namespace,
            # A profile in the person's own file (keys, TLS) must not be mixed with our address.
            "TEMPORAL_CONFIG_FILE": devnull,
        },
        web_ui=f"http://127.0.0.1:{settings.ui_port}",
        env_file=str(settings.file),
    )


async def find_cli(*, progress: Progress) -> Path:
    """The CLI on PATH, else the one the SDK downloads, else built."""
    on_path = shutil.which("temporal")
    if on_path:
        return Path(on_path)
    found = cached(CLI) or await downloaded("cli", progress=progress)
    return found or await go_program(CLI, progress=progress)


async def installation_at(address: str, *, namespace: str = "default") -> str:
    """Which checkout started the server at this address; empty for a server that no checkout started."""
    client = await Client.connect(address, namespace=namespace)
    reply = await client.workflow_service.describe_namespace(
        DescribeNamespaceRequest(namespace=client.namespace), timeout=timedelta(seconds=5)
    )
    return reply.namespace_info.data.get(MARK, "")


def _server_version(program: Path) -> str:
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=60)
    found = re.search(r"Server (\d+\.\d+\.\d+)", answer.stdout)
    if not found:
        raise PartFailed(
            Part.TEMPORAL,
            why=f"{program} is not a Temporal CLI with a server: {answer.stdout!r}",
            fix=CLI.fix,
        )
    return found[1]


def _refuse_newer_data(data: Path, version: str) -> None:
    stamp = data / "engine"
    written_by = stamp.read_text().strip() if stamp.exists() else version
    if _order(written_by) > _order(version):
        raise PartFailed(
            Part.TEMPORAL,
            why=f"the data in {data} was written by server {written_by}, this CLI has {version}",
            fix=f"put a newer Temporal CLI on PATH, or move {data} away to begin with no builds",
        )


SYNCHRONOUS = {True: "off", False: "normal"}
"""How the server's file is synced, when fast or not: a killed server loses nothing; with `normal` a power cut
may lose the last moments but never the file. The default waits for the disk several times an activity."""


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split("."))


def _service(program: Path, settings: TemporalSettings, database: Path, *, fast: bool) -> Service:
    return Service(
        name=Part.TEMPORAL,
        argv=(
            str(program),
            *settings.start_dev(database),
            "--sqlite-pragma",
            f"synchronous={SYNCHRONOUS[fast]}",
        ),
        environment=plain_environment() | {"TEMPORAL_CONFIG_FILE": devnull},
        cwd=database.parent,
        stage=1,
        # It takes 1.5 s to stop cleanly, and its file survives being killed.
        stop_signal=signal.SIGKILL if fast else signal.SIGTERM,
        ready=_Readiness(settings),
        fix=CLI.fix,
    )


@dataclass(frozen=True, slots=True)
class _Readiness:
    settings: TemporalSettings

    async def __call__(self, pid: int) -> bool:
        if not await asyncio.to_thread(_listens, self.settings.port):
            return False
        try:
            await installation_at(self.settings.address, namespace=self.settings.commands.namespace)
        except (RuntimeError, RPCError):
            return False
        return True


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def _mark(settings: TemporalSettings, installation: str) -> None:
    client = await Client.connect(settings.address, namespace=settings.commands.namespace)
    request = UpdateNamespaceRequest(namespace=client.namespace)
    request.update_info.data[MARK] = installation
    await client.workflow_service.update_namespace(request, timeout=timedelta(seconds=10))
