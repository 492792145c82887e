"""The real stand-ins that contract tests run against: Postgres, Redis, the S3 server, the sandbox server."""

import asyncio
import os
import sys
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.testing import ActivityEnvironment

from activities.branches import Branches
from activities.captures import Captures
from activities.checks import Checks
from activities.database import open_database, upgrade_database
from activities.events import EventStream
from activities.money_tables import users
from activities.objects import Objects
from activities.progress import Progress
from activities.restore import Restorer
from activities.restore_points import RestorePoints
from activities.rewinds import Rewinds
from activities.runner_archive import archive
from activities.sandbox import Sandboxes
from activities.sandbox_client import SandboxClient
from activities.sandbox_rows import SandboxRows
from activities.sandbox_time import SandboxTime
from activities.screenshots import Screenshots
from activities.settings import Settings
from activities.snapshots import Snapshots
from activities.stored_objects import StoredObjects
from activities.tables import builds, projects
from activities.tools import Tools
from activities.transcript import Transcript, dump
from activities.workspace import Workspace
from starter.local.parts import Part
from starter.local.stack import open_stack
from workflows.catalogue import is_changing
from workflows.files import CreateSandbox, RestorePoint, SandboxRef, SandboxStep, TakeSnapshot
from workflows.turns import ToolCall, ToolOutcome, ToolRun

ROOT = Path(__file__).parents[2]
KEY = "e2b_0123456789abcdef"


@pytest.fixture(scope="session")
async def services(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mapping[str, str]]:
    """Postgres, Redis and the S3 server, under the names of the settings."""
    data = tmp_path_factory.mktemp("services") / "stack"
    parts = frozenset({Part.POSTGRES, Part.REDIS, Part.S3})
    async with open_stack(ROOT, data=data, parts=parts, fast=True, environment={}) as stack:
        await upgrade_database(stack.environment["DATABASE_URL"])
        yield stack.environment


@pytest.fixture(scope="session")
def sandbox_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the sandbox server keeps the files of its sandboxes."""
    return tmp_path_factory.mktemp("sandboxes") / "data"


@pytest.fixture(scope="session")
async def sandbox_server(services: Mapping[str, str], sandbox_data: Path) -> AsyncIterator[str]:
    """The address of a sandbox server whose sandboxes reach the S3 server."""
    log = sandbox_data.with_name("log").open("wb")
    data = str(sandbox_data)
    port = _free_port()
    environment = {
        **os.environ,
        "NIGHTSHIFT_LOCAL_KEY": KEY,
        "NIGHTSHIFT_UPLOAD_HOSTS": urlsplit(services["AWS_ENDPOINT_URL_S3"]).netloc,
    }
    # Each test's client keeps its own distance between creations, and knows of no other test's.
    limits = ("--creations", "100")
    command = (sys.executable, "-m", "starter.local.sandbox", "--port", str(port), "--data", data, *limits)
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
    )
    try:
        await _ready(f"http://127.0.0.1:{port}/healthz", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        log.close()


@pytest.fixture(scope="session")
def settings(services: Mapping[str, str], sandbox_server: str) -> Settings:
    """Settings as a worker of this stack would read them."""
    given = {name.lower(): value for name, value in services.items()}
    return Settings.model_validate(
        {name: value for name, value in given.items() if name in Settings.model_fields}
        | {
            "e2b_api_key": KEY,
            "e2b_api_url": sandbox_server,
            "e2b_sandbox_url": sandbox_server,
            "NIGHTSHIFT_LOCAL_SANDBOX": True,
        }
    )


@pytest.fixture(scope="session")
async def engine(settings: Settings) -> AsyncIterator[AsyncEngine]:
    """The database's pool."""
    async with open_database(settings) as opened:
        yield opened


@pytest.fixture(scope="session")
async def objects(settings: Settings) -> AsyncIterator[Objects]:
    """The bucket."""
    async with Objects.open(settings) as opened:
        yield opened


@pytest.fixture(scope="session")
async def events(settings: Settings) -> AsyncIterator[EventStream]:
    """The live stream."""
    async with EventStream.open(settings) as opened:
        yield opened


@dataclass(frozen=True)
class Bench:
    """The workspace side of a worker, and one build to try it with."""

    build_id: str
    engine: AsyncEngine
    objects: Objects
    events: EventStream
    client: SandboxClient
    workspace: Workspace
    rows: SandboxRows
    points: RestorePoints
    captures: Captures
    restorer: Restorer
    sandboxes: Sandboxes
    stored: StoredObjects
    snapshots: Snapshots
    tools: Tools
    checks: Checks
    transcript: Transcript

    async def create(self, generation: int = 1, **fields: object) -> SandboxRef:
        """Create a sandbox as the workflow does."""
        request = CreateSandbox.model_validate(
            {"build_id": self.build_id, "generation": generation, **fields}
        )
        return await ActivityEnvironment().run(self.sandboxes.create_sandbox, request)

    def step(self, sandbox: SandboxRef) -> SandboxStep:
        """Name a sandbox of the build."""
        return SandboxStep(build_id=self.build_id, sandbox=sandbox)

    async def reply(self, *calls: tuple[str, str, object]) -> int:
        """Append a reply with these tool calls: (tool_use_id, tool, input)."""
        blocks = [{"type": "tool_use", "id": use, "name": tool, "input": given} for use, tool, given in calls]
        async with self.engine.begin() as connection:
            system = await self.transcript.append(
                connection, build_id=self.build_id, parent_id=None, role="system", body="{}"
            )
            return await self.transcript.append(
                connection, build_id=self.build_id, parent_id=system, role="assistant", body=dump(blocks)
            )

    async def run(
        self, sandbox: SandboxRef, head: int, use: str, tool: str, *, refuse: str = "", attempt: int = 1
    ) -> ToolOutcome:
        """Run a tool call of a reply as the workflow does."""
        environment = ActivityEnvironment()
        environment.info = replace(environment.info, attempt=attempt)
        call = ToolCall(tool_use_id=use, tool=tool, label=tool, changing=is_changing(tool))
        request = ToolRun(build_id=self.build_id, head=head, call=call, sandbox=sandbox, refuse=refuse)
        return await environment.run(self.tools.run_tool, request)

    async def use(self, sandbox: SandboxRef, tool: str, given: object) -> ToolOutcome:
        """Run one fresh tool call."""
        use = f"toolu_{uuid.uuid4().hex[:20]}"
        return await self.run(sandbox, await self.reply((use, tool, given)), use, tool)

    async def bash(self, sandbox: SandboxRef, command: str, *, seconds: int = 120) -> ToolOutcome:
        """Run a command through the bash tool."""
        return await self.use(sandbox, "bash", {"command": command, "timeout_seconds": seconds})

    async def snapshot(self, sandbox: SandboxRef, **fields: object) -> RestorePoint:
        """Take a snapshot as the workflow does."""
        request = {
            "build_id": self.build_id,
            "project": f"project-{self.build_id}",
            "sandbox": sandbox,
            "turn": 1,
            "head": 1,
            **fields,
        }
        return await ActivityEnvironment().run(
            self.snapshots.take_snapshot, TakeSnapshot.model_validate(request)
        )


@asynccontextmanager
async def open_bench(
    settings: Settings,
    engine: AsyncEngine,
    objects: Objects,
    events: EventStream,
    *,
    local_sandbox: bool = True,
) -> AsyncIterator[Bench]:
    """A worker's adapters and a build; where sandboxes are not local, files go through the worker."""
    time = SandboxTime(engine, settings)
    client = SandboxClient(settings, lengthened=time.lengthened)
    workspace = Workspace(client, runner=archive()[1])
    rows, points, transcript = SandboxRows(engine), RestorePoints(engine), Transcript(engine)
    screenshots, captures = Screenshots(objects, workspace), Captures()
    restorer, stored = (
        Restorer(workspace, objects, points, local_sandbox=local_sandbox),
        StoredObjects(engine, objects),
    )
    bench = Bench(
        build_id=f"build-{uuid.uuid4().hex[:12]}",
        engine=engine,
        objects=objects,
        events=events,
        client=client,
        workspace=workspace,
        rows=rows,
        points=points,
        captures=captures,
        restorer=restorer,
        sandboxes=Sandboxes(workspace, rows, restorer, time=time, settings=settings),
        stored=stored,
        snapshots=Snapshots(
            workspace,
            objects,
            points,
            restorer,
            stored=stored,
            captures=captures,
            local_sandbox=local_sandbox,
        ),
        tools=Tools(
            workspace,
            transcript,
            captures=captures,
            screenshots=screenshots,
            progress=Progress(engine),
            events=events,
        ),
        checks=Checks(workspace, screenshots, time=time),
        transcript=transcript,
    )
    try:
        yield bench
    finally:
        for row in await rows.of_build(bench.build_id):
            if row.sandbox_id:
                await client.kill(row.sandbox_id)


def rewinds_of(bench: Bench) -> Rewinds:
    """What takes a build of this bench back."""
    branches = Branches(bench.engine, bench.transcript)
    return Rewinds(bench.engine, branches, manifest=bench.restorer.manifest)


def tools_of(bench: Bench) -> Tools:
    """The tools of another worker, with what this bench is made of."""
    return Tools(
        bench.workspace,
        bench.transcript,
        captures=bench.captures,
        screenshots=bench.tools._screenshots,
        progress=bench.tools._progress,
        events=bench.events,
    )


@pytest.fixture
async def bench(
    settings: Settings, engine: AsyncEngine, objects: Objects, events: EventStream
) -> AsyncIterator[Bench]:
    """A worker's adapters and a new build; its sandboxes are killed at the end."""
    async with open_bench(settings, engine, objects, events) as made:
        yield made


@pytest.fixture
async def paid(
    settings: Settings, engine: AsyncEngine, objects: Objects, events: EventStream
) -> AsyncIterator[Bench]:
    """A worker's adapters where a second costs a microdollar, and a build with a row."""
    priced = settings.model_copy(update={"sandbox_microdollars_per_second": Decimal(1)})
    async with open_bench(priced, engine, objects, events) as made:
        user = f"user-{uuid.uuid4().hex[:12]}"
        async with engine.begin() as connection:
            await connection.execute(insert(users).values(id=user, tier="partner"))
            await connection.execute(insert(projects).values(id=made.build_id, user_id=user))
            await connection.execute(
                insert(builds).values(
                    id=made.build_id,
                    workflow_id=made.build_id,
                    project=made.build_id,
                    user_id=user,
                    number=1,
                    model="m",
                    head=1,
                )
            )
        yield made


async def _ready(url: str, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(60), httpx2.AsyncClient(trust_env=False) as client:
        while process.returncode is None:
            try:
                if (await client.get(url)).status_code == 200:
                    return
            except httpx2.TransportError:
                await asyncio.sleep(0.05)
        raise AssertionError(f"The sandbox server ended with {process.returncode}.")


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
