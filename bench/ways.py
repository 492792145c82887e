"""Three ways to keep a workspace: ours, a full tar.gz, and restic."""

import shlex
import time
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from temporalio.testing import ActivityEnvironment

from activities.captures import Captures
from activities.database import open_database, upgrade_database
from activities.objects import Objects
from activities.restore import Restorer
from activities.restore_points import RestorePoints
from activities.runner_archive import archive
from activities.sandbox import Sandboxes
from activities.sandbox_client import SandboxClient
from activities.sandbox_rows import SandboxRows
from activities.sandbox_time import SandboxTime
from activities.settings import Settings
from activities.snapshots import CAPTURE_TIME, Snapshots
from activities.stored_objects import StoredObjects
from activities.workspace import Workspace
from bench.restic import Restic
from starter.local.clients import open_s3
from workflows.files import CreateSandbox, RestorePoint, SandboxRef, TakeSnapshot

LONG = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Ground:
    """The worker's parts, without Temporal, and the bucket that all ways put into."""

    environment: Mapping[str, str]
    settings: Settings
    workspace: Workspace
    objects: Objects
    points: RestorePoints
    restorer: Restorer
    captures: Captures
    sandboxes: Sandboxes
    snapshots: Snapshots
    build_id: str = field(default_factory=lambda: f"bench-{uuid.uuid4().hex[:8]}")

    async def create(self, *, role: Literal["build", "check"], generation: int = 1) -> SandboxRef:
        """Create a sandbox, empty."""
        request = CreateSandbox(build_id=self.build_id, generation=generation, role=role)
        return await ActivityEnvironment().run(self.sandboxes.create_sandbox, request)

    async def run(self, sandbox: SandboxRef, line: str) -> str:
        """Run a line of shell in a sandbox; gives what it printed."""
        ran = await self.workspace.client.run(sandbox.sandbox_id, line, within=LONG)
        if ran.exit_code:
            raise RuntimeError(f"{line[:80]}: {ran.stderr[-300:]}")
        return ran.stdout

    async def stored(self) -> int:
        """Bytes of all objects in the bucket."""
        total = 0
        async with open_s3(self.environment) as client:
            pages: Any = client
            async for page in pages.get_paginator("list_objects_v2").paginate(
                Bucket=self.settings.project_snapshot_bucket
            ):
                total += sum(found["Size"] for found in page.get("Contents", ()))
        return total


@asynccontextmanager
async def open_ground(environment: Mapping[str, str]) -> AsyncGenerator[Ground]:
    """Make the worker's side as `worker.py` does, for snapshots only."""
    settings = Settings.from_env(environment)
    await upgrade_database(settings.database_url.get_secret_value())
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(open_database(settings))
        objects = await stack.enter_async_context(Objects.open(settings))
        workspace = Workspace(SandboxClient(settings), runner=archive()[1])
        points, captures = RestorePoints(engine), Captures()
        restorer = Restorer(workspace, objects, points, local_sandbox=True)
        yield Ground(
            environment=environment,
            settings=settings,
            workspace=workspace,
            objects=objects,
            points=points,
            restorer=restorer,
            captures=captures,
            sandboxes=Sandboxes(
                workspace,
                SandboxRows(engine),
                restorer,
                time=SandboxTime(engine, settings),
                settings=settings,
            ),
            snapshots=Snapshots(
                workspace,
                objects,
                points,
                restorer,
                stored=StoredObjects(engine, objects),
                captures=captures,
                local_sandbox=True,
            ),
        )


class Ours:
    """The runner's capture in the sandbox, then the worker's upload, publication and commit."""

    name = "nightshift"

    def __init__(self, ground: Ground, sandbox: SandboxRef) -> None:
        self._ground, self._sandbox = ground, sandbox
        self._last: RestorePoint | None = None
        self._turn = 0

    async def save(self) -> dict[str, float]:
        """Capture, then take the snapshot; the build waits for the first only, its processes less long."""
        ground, began = self._ground, time.monotonic()
        fields = ground.captures.fields(self._sandbox)
        answer = await ground.workspace.ask(self._sandbox, "capture", fields, within=CAPTURE_TIME)
        captured = time.monotonic()
        self._turn += 1
        request = TakeSnapshot(
            build_id=ground.build_id,
            project=ground.build_id,
            sandbox=self._sandbox,
            turn=self._turn,
            head=self._turn,
            parent=self._last.restore_point if self._last else None,
            captured=answer["capture"]["number"],
        )
        self._last = await ActivityEnvironment().run(ground.snapshots.take_snapshot, request)
        return {
            "frozen_s": answer["capture"]["frozen_seconds"],
            "capture_s": captured - began,
            "upload_s": time.monotonic() - captured,
        }

    async def restore(self, into: SandboxRef) -> str:
        """Restore the newest restore point, as a worker does that knows nothing of it yet."""
        ground = self._ground
        assert self._last is not None
        restorer = Restorer(ground.workspace, ground.objects, ground.points, local_sandbox=True)
        await restorer.restore(into, self._last.restore_point, source_only=False)
        return into.workspace


class TarGz:
    """A full archive made in the sandbox, read by the worker, put into the bucket."""

    name = "tar.gz"

    def __init__(self, ground: Ground, sandbox: SandboxRef) -> None:
        self._ground, self._sandbox = ground, sandbox
        self._key = ""

    async def save(self) -> dict[str, float]:
        """Archive everything; the build waits for all of it."""
        ground, began = self._ground, time.monotonic()
        folder = shlex.quote(self._sandbox.workspace)
        await ground.run(self._sandbox, f"tar czf /tmp/snap.tar.gz -C {folder} .")
        captured = time.monotonic()
        data = await ground.workspace.client.read(self._sandbox.sandbox_id, "/tmp/snap.tar.gz")  # noqa: S108
        self._key = f"tar/{uuid.uuid4().hex}/data"
        await ground.objects.put_if_absent(self._key, data, content_type="application/gzip")
        return {"capture_s": captured - began, "upload_s": time.monotonic() - captured}

    async def restore(self, into: SandboxRef) -> str:
        """Carry the archive into the sandbox and unpack it."""
        ground, folder = self._ground, f"{into.home}/from-tar"
        data = await ground.objects.get(self._key, limit=2**31)
        await ground.workspace.client.write(into.sandbox_id, f"{into.home}/snap.tar.gz", data)
        await ground.run(into, f"mkdir {folder} && tar xzf {into.home}/snap.tar.gz -C {folder}")
        return folder


class ByRestic:
    """restic on the host, straight on the sandbox's files: neither sandbox nor worker is in its way."""

    name = "restic"

    def __init__(self, restic: Restic, source: Path) -> None:
        self._restic, self._source = restic, source
        restic.run("init")

    async def save(self) -> dict[str, float]:
        """Back up the whole; restic finds out what changed."""
        began = time.monotonic()
        self._restic.run("backup", "--host", "bench", ".", cwd=self._source)
        return {"capture_s": time.monotonic() - began, "upload_s": 0.0}

    def restore(self, into: Path) -> None:
        """Restore the newest snapshot, as a machine does that has no cache of the repository."""
        self._restic.run("restore", "latest", "--host", "bench", "--target", str(into), "--no-cache")
