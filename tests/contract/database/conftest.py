"""The database side of a worker against real servers: Postgres, Redis and the scripted Messages API."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from anthropic import AsyncAnthropic
from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.testing import ActivityEnvironment

from activities.accounts import Accounts
from activities.builds import Builds
from activities.database import open_database, upgrade_database
from activities.events import EventStream
from activities.ledger import Ledger
from activities.model import Model
from activities.money_tables import days, users
from activities.money_tables import ledger as ledger_table
from activities.purchases import Purchases
from activities.sandbox_time import SandboxTime
from activities.settings import Settings
from activities.transcript import Transcript
from starter.local.parts import Part
from starter.local.stack import open_stack
from workflows.models import BuildRequest, PrepareBuild, PreparedBuild
from workflows.turns import Balance, ModelCall, ModelReply

ROOT = Path(__file__).parents[3]
KEY = "sk-local-0123456789abcdef"
ROOMY = {"concurrent_builds": 1_000, "builds_a_day": 1_000}
"""Limits that a test of anything else does not meet."""
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
"""When the tests' activities start, unless they say otherwise."""


@pytest.fixture(scope="session")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mapping[str, str]]:
    """Postgres and Redis, under the names of the settings."""
    data = tmp_path_factory.mktemp("servers") / "stack"
    parts = frozenset({Part.POSTGRES, Part.REDIS})
    async with open_stack(ROOT, data=data, parts=parts, fast=True, environment={}) as stack:
        await upgrade_database(stack.environment["DATABASE_URL"])
        yield stack.environment


@pytest.fixture(scope="session")
async def model_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The address of the scripted Messages API."""
    data = tmp_path_factory.mktemp("model")
    process = await asyncio.create_subprocess_exec(
        *(str(ROOT / ".venv/bin/python"), "-m", "starter.local.model", "--port", "0", "--data", str(data)),
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "NIGHTSHIFT_LOCAL_KEY": KEY},
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        yield line.split()[-1]
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@pytest.fixture(scope="session")
def settings(servers: Mapping[str, str], model_server: str) -> Settings:
    """Settings as a worker of these servers would read them."""
    return Settings(
        NIGHTSHIFT_LOCAL_SANDBOX=True,
        database_url=servers["DATABASE_URL"],
        redis_url=servers["REDIS_URL"],
        anthropic_api_key=KEY,
        anthropic_base_url=model_server,
    )


@pytest.fixture(scope="session")
async def engine(settings: Settings) -> AsyncIterator[AsyncEngine]:
    """The database's pool."""
    async with open_database(settings) as opened:
        yield opened


@pytest.fixture(scope="session")
async def events(settings: Settings) -> AsyncIterator[EventStream]:
    """The live stream."""
    async with EventStream.open(settings) as opened:
        yield opened


@dataclass
class Control:
    """The scripted server's levers."""

    client: httpx2.AsyncClient

    async def faults(self, *faults: dict[str, Any]) -> None:
        (await self.client.post("/_control/faults", json=list(faults))).raise_for_status()

    async def hold(self, **hold: object) -> None:
        (await self.client.post("/_control/hold", json=hold)).raise_for_status()

    async def until_held(self) -> None:
        async with asyncio.timeout(20):
            while not (await self.client.get("/_control/hold")).json()["waiting"]:
                await asyncio.sleep(0.01)

    async def release(self) -> None:
        (await self.client.post("/_control/release")).raise_for_status()

    async def requests(self) -> list[dict[str, Any]]:
        return (await self.client.get("/_control/requests?last=1000")).json()["requests"]

    async def limits(self, **limits: object) -> None:
        (await self.client.post("/_control/limits", json=limits)).raise_for_status()

    async def reset(self) -> None:
        await self.limits(max_input_tokens=None)
        (await self.client.delete("/_control/requests")).raise_for_status()
        await self.faults()


@pytest.fixture(autouse=True)
async def control(model_server: str) -> AsyncIterator[Control]:
    """Levers of a server without faults and without a past."""
    headers = {"Authorization": f"Bearer {KEY}"}
    async with httpx2.AsyncClient(base_url=model_server, headers=headers) as client:
        levers = Control(client)
        await levers.reset()
        yield levers
        await levers.release()
        await levers.reset()


@dataclass
class Desk:
    """The database side of one worker, and one user with a build."""

    engine: AsyncEngine
    transcript: Transcript
    purchases: Purchases
    ledger: Ledger
    builds: Builds
    model: Model
    events: EventStream
    user: str = field(default_factory=lambda: f"user-{uuid.uuid4().hex[:12]}")

    async def run(
        self, method: Callable[..., Any], request: object, *, at: datetime = NOON, **info: Any
    ) -> Any:
        """Run an activity as a worker would, at this server time."""
        environment = ActivityEnvironment()
        environment.info = replace(environment.info, started_time=at, **info)
        return await environment.run(method, request)

    async def prepare(self, *, run_id: str = "", at: datetime = NOON, **request: Any) -> PreparedBuild:
        """Prepare a build of this user, of a run of its own."""
        run_id = run_id or str(uuid.uuid4())
        async with self.engine.begin() as connection:
            row = insert(users).values({"id": self.user, "tier": "bootstrapper"} | ROOMY)
            await connection.execute(row.on_conflict_do_nothing())
        request = {"idea": "[[script:idle]] A page that says hello.", "user": self.user} | request
        return await self.run(
            self.builds.prepare_build,
            PrepareBuild(request=BuildRequest.model_validate(request)),
            at=at,
            workflow_run_id=run_id,
            workflow_id=f"build-{run_id}",
        )

    async def call(self, build: PreparedBuild, *, at: datetime = NOON, **more: Any) -> ModelReply:
        """Call the model for a build."""
        return await self.run(self.model.call_model, call_for(build, **more), at=at)

    async def give(self, **values: object) -> None:
        """Make this user, with these values."""
        async with self.engine.begin() as connection:
            await connection.execute(
                insert(users).values({"id": self.user, "tier": "partner"} | ROOMY | values)
            )

    async def set_user(self, **values: object) -> None:
        """Change this user's row."""
        async with self.engine.begin() as connection:
            await connection.execute(update(users).filter_by(id=self.user).values(values))

    async def set_money(self, microdollars: int, *, day: date = date(2026, 11, 23)) -> None:
        """Set what this user's day allows in all."""
        async with self.engine.begin() as connection:
            row = insert(days).values(user_id=self.user, day=day, allowance=microdollars)
            await connection.execute(
                row.on_conflict_do_update(
                    index_elements=["user_id", "day"], set_={"allowance": microdollars, "added": 0}
                )
            )

    async def add(self, microdollars: int, *, at: datetime = NOON) -> Balance:
        """Add money to this user's day, as `starter add` does."""
        key = str(uuid.uuid4())
        return (await Accounts(self.engine).add(self.user, microdollars, key=key, at=at)).balance

    async def entries(self, build_id: str) -> list[dict[str, Any]]:
        """Give a build's ledger rows, oldest first."""
        query = select(ledger_table).filter_by(build_id=build_id).order_by(ledger_table.c.id)
        async with self.engine.connect() as connection:
            return [dict(row) for row in (await connection.execute(query)).mappings()]


def call_for(build: PreparedBuild, **more: Any) -> ModelCall:
    """Ask for a reply to a build's first message, or as told."""
    given = {"head": build.head, "turn": 1, "model": build.model} | more
    return ModelCall(build_id=build.build_id, user=build.user, **given)


MakeDesk = Callable[..., Desk]


@pytest.fixture
async def make_desk(engine: AsyncEngine, events: EventStream, settings: Settings) -> AsyncIterator[MakeDesk]:
    """Makes a worker's database side with its own caches, as after a restart; other settings if given."""
    async with AsyncExitStack() as stack:
        made: list[AsyncAnthropic] = []

        def make(*, base_url: str = settings.anthropic_base_url, **changed: object) -> Desk:
            client = AsyncAnthropic(api_key=KEY, base_url=base_url, max_retries=0)
            made.append(client)
            stack.push_async_callback(client.close)
            own = settings.model_copy(update=changed)
            transcript = Transcript(engine)
            purchases = Purchases(engine, transcript, own)
            ledger = Ledger(engine, events)
            shared = {"transcript": transcript, "purchases": purchases, "events": events}
            return Desk(
                engine=engine,
                ledger=ledger,
                builds=Builds(engine, **shared, time=SandboxTime(engine, own), settings=own),
                model=Model(client, **shared, ledger=ledger),
                **shared,
            )

        yield make


@pytest.fixture
def desk(make_desk: MakeDesk) -> Desk:
    """One worker's database side and a new user."""
    return make_desk()
