"""The demo of money: a build is told that its day runs low, leaves its work in order, sleeps and wakes.

All is as in production but where midnight is: the user lives in a time zone that is made up for this demo, in
a stack of its own that only stand-ins serve. Of the plan's four dollars today has less than one.
"""

import asyncio
import json
import secrets
import sys
from argparse import Namespace
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from pydantic import JsonValue
from rich.console import Console
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import WorkflowFailureError

from activities.database import open_database, upgrade_database
from activities.settings import Settings
from starter.attach import ROOT, data_directory
from starter.commands import start_build
from starter.connect import connect
from starter.demo import Built, see_through, tell_failure
from starter.local.outside import DIRECTORY
from starter.local.parts import Progress
from starter.local.short_day import ZONE, write_zone, zone_environment
from starter.local.stack import open_stack
from starter.running import Nightshift, environment_of
from starter.stack_table import stack_table
from starter.worker_process import WorkerProcess
from workflows.texts import dollars

TODAY = 900_000
"""Microdollars of the first day, of which the build costs more."""
REQUEST: dict[str, JsonValue] = {
    "idea": "[[script:night chapters=12]] A page that says hello, with a long handbook.",
}
LOOK_SECONDS = 0.2
PERSON = "INSERT INTO users (id, tier, timezone) VALUES (:user, 'partner', :zone)"
MONEY = "INSERT INTO days (user_id, day, allowance) VALUES (:user, :day, :allowance)"
TOLD = """SELECT t.id, t.body FROM transcript t JOIN builds b ON b.id = t.build_id
    WHERE b.user_id = :user AND t.role = 'user' AND t.id > :after AND t.body LIKE '%[allowance]%'
    ORDER BY t.id"""
SLEEP = """SELECT b.wake_at, p.key FROM builds b LEFT JOIN restore_points p ON p.id = (
    SELECT max(id) FROM restore_points WHERE build_id = b.id)
    WHERE b.user_id = :user AND b.status = 'sleeping'"""
DAYS = """SELECT d.day, d.allowance, coalesce(sum(l.cost), 0) FROM days d LEFT JOIN ledger l
    ON l.user_id = d.user_id AND l.day = d.day WHERE d.user_id = :user
    GROUP BY d.day, d.allowance ORDER BY d.day"""


@dataclass(slots=True)
class Night:
    """What was seen of the night."""

    user: str
    midnight: datetime
    told: list[str] = field(default_factory=list)
    """What the model was told of the allowance."""
    wake_at: datetime | None = None
    """Until when it said that it sleeps."""
    woke: datetime | None = None
    """When it was first seen awake again."""
    snapshot: str = ""
    """The manifest of the files that it saved before it slept."""

    @property
    def is_whole(self) -> bool:
        """It was told, slept beyond midnight and woke when it said."""
        if not (self.told and self.wake_at and self.woke):
            return False
        return self.midnight <= self.wake_at <= self.woke


async def demo_sleep(given: Namespace, console: Console) -> int:
    """Show one wind-down, sleep and wake; 0 only when all was seen, the build is READY and answers 200."""
    user = f"demo-sleep-{secrets.token_hex(2)}"

    def progress(line: str) -> None:
        console.print(line, style="dim", soft_wrap=True)

    async with _open(progress) as nightshift, open_database(_settings(nightshift)) as database:
        console.print(stack_table(nightshift.stack.parts))
        midnight = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=given.midnight_in)
        night = Night(user, midnight)
        await _move_in(nightshift, database, night)
        console.print(
            f"{user} may spend {dollars(TODAY)} today; where they live it is midnight at "
            f"{midnight.astimezone():%H:%M:%S}, in {given.midnight_in:.0f} s",
            style="bold",
        )
        handle = await start_build(nightshift.client, REQUEST | {"user": user, "project": user}, user)
        watching = asyncio.create_task(_watch(database, night, console))
        try:
            built = await see_through(nightshift, handle, console)
        except WorkflowFailureError as error:
            return tell_failure(nightshift, handle, error, console, as_json=given.json)
        finally:
            watching.cancel()
            await asyncio.wait([watching])
        return await _tell(database, built, night, console, as_json=given.json)


@asynccontextmanager
async def _open(progress: Progress) -> AsyncGenerator[Nightshift]:
    """Start a stack of stand-ins, and a worker that knows the made-up zone."""
    data = (data_directory() or ROOT / DIRECTORY) / "demo-sleep"
    async with open_stack(ROOT, data=data, progress=progress, environment={}) as stack:
        environment = environment_of(stack, {})
        client = await connect(environment)
        # A build of an earlier demo must not teach the worker the midnight of then, which it keeps.
        (stack.home.part("zones") / ZONE).unlink(missing_ok=True)
        worker = WorkerProcess(
            client,
            environment | zone_environment(stack.home.part("zones")),
            log=stack.home.logs / "worker.log",
            say=progress,
        )
        async with worker.kept():
            yield Nightshift(stack, client, environment)


def _settings(nightshift: Nightshift) -> Settings:
    return Settings.from_env(nightshift.environment)


async def _move_in(nightshift: Nightshift, database: AsyncEngine, night: Night) -> None:
    """Make the zone, then the user, whose today ends at the midnight."""
    write_zone(nightshift.stack.home.part("zones"), midnight=night.midnight)
    await upgrade_database(_settings(nightshift).database_url.get_secret_value())
    today = night.midnight.date() - timedelta(days=1)
    async with database.begin() as connection:
        await connection.execute(text(PERSON), {"user": night.user, "zone": ZONE})
        await connection.execute(text(MONEY), {"user": night.user, "day": today, "allowance": TODAY})


async def _watch(database: AsyncEngine, night: Night, console: Console) -> None:
    """Print what the model is told of the allowance, when the build falls asleep and when it wakes."""
    after = 0
    while True:
        async with database.connect() as connection:
            notes = (await connection.execute(text(TOLD), {"user": night.user, "after": after})).all()
            asleep = (await connection.execute(text(SLEEP), {"user": night.user})).one_or_none()
        for note in notes:
            after = note.id
            night.told += (said := _of_allowance(note.body))
            for each in said:
                _point_out(console, f"the model is told: {each}")
        if asleep and night.wake_at is None:
            night.wake_at, night.snapshot = asleep.wake_at, asleep.key or ""
            _point_out(console, f"its files are saved as {night.snapshot}")
            _point_out(console, f"it sleeps until {asleep.wake_at.astimezone():%H:%M:%S}")
        elif night.wake_at and not asleep and night.woke is None:
            night.woke = datetime.now(UTC)
            late = (night.woke - night.midnight).total_seconds()
            _point_out(console, f"it woke by itself, {late:.1f} s after midnight")
        await asyncio.sleep(LOOK_SECONDS)


def _point_out(console: Console, said: str) -> None:
    console.print(f"         {said}", style="bold yellow", markup=False, soft_wrap=True)


def _of_allowance(body: str) -> list[str]:
    return [
        block["text"]
        for block in json.loads(body)
        if block.get("type") == "text" and block["text"].startswith("[allowance]")
    ]


async def _tell(database: AsyncEngine, built: Built, night: Night, console: Console, *, as_json: bool) -> int:
    console.print(
        f"{built.result.status}: {built.result.preview_url} (HTTP {built.preview_status})", style="bold"
    )
    async with database.connect() as connection:
        days = (await connection.execute(text(DAYS), {"user": night.user})).all()
    for day, allowance, spent in days:
        console.print(f"{day}: spent {dollars(int(spent))} of {dollars(allowance)}")
    if not night.is_whole:
        console.print(
            "It was not seen to be told, to sleep and to wake: is the machine busy?", style="bold red"
        )
    if as_json:
        sys.stdout.write(json.dumps(built.fields() | _fields(night, [tuple(day) for day in days])) + "\n")
    return 0 if night.is_whole and built.preview_status == 200 else 1  # noqa: PLR2004 HTTP OK


def _fields(night: Night, days: list[tuple[object, ...]]) -> dict[str, JsonValue]:
    """What `JSON=1` prints beside the build."""
    return {
        "user": night.user,
        "told": list[JsonValue](night.told),
        "midnight": night.midnight.isoformat(),
        "wake_at": night.wake_at.isoformat() if night.wake_at else None,
        "woke": night.woke.isoformat() if night.woke else None,
        "sleep_snapshot": night.snapshot,
        "days": [
            {"day": str(day), "allowance": int(str(allowance)), "spent": int(str(spent))}
            for day, allowance, spent in days
        ],
    }
