"""What sleeping builds cost, and how they wake: `python -m bench.sleep --builds 10000`.

Builds of users whose day is spent fall asleep at their first call and wake at one midnight, which is near as
their time zone is made up. The next day is spent too, so each looks once and sleeps again. Real: the worker's
process, server, database, money. Not real: the sandboxes, which are names (`sleeping_worker.py`).
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from statistics import quantiles
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from activities.database import open_database, upgrade_database
from activities.settings import Settings
from bench import processes, results
from bench.stage import Stage, open_stage
from starter.attach import ROOT
from starter.commands import start_build
from starter.exits import run
from starter.local.short_day import ZONE, write_zone, zone_environment
from starter.local.supervisor import plain_environment
from starter.worker_process import HEAP

CROWD = "crowd"
"""The user to whom half of the builds belong; ten others share the rest."""
USERS = (CROWD, *(f"user-{n}" for n in range(10)))
AT_ONCE = 10
"""Starts under way at once."""
UNDER_WAY = 60
"""Builds that were started and do not sleep yet, about so many at most: no thousands start in a minute."""
WARM = 50
"""Builds that fall asleep first: the worker's pools and heaps get as large as they get."""
LAST_START = timedelta(seconds=40)
"""How long before they are watched the last one is started."""
IDLE = timedelta(minutes=1)
"""How long the sleepers are watched."""
PEOPLE = """INSERT INTO users (id, tier, timezone, concurrent_builds, builds_a_day)
    VALUES (:user, 'bootstrapper', :zone, 1000000, 1000000)"""
SPENT = "INSERT INTO days (user_id, day, allowance) VALUES (:user, :day, 1)"
ASLEEP = "SELECT count(*) FROM builds WHERE status = 'sleeping' AND wake_at {} :next"
TOLD = "SELECT workflow_id, user_id, wake_at FROM builds WHERE status = 'sleeping'"
AGAIN = "SELECT workflow_id, changed_at FROM builds WHERE status = 'sleeping' AND wake_at >= :next"


@dataclass(frozen=True, slots=True)
class Scene:
    """The stack, its worker and the night."""

    stage: Stage
    database: AsyncEngine
    pids: dict[str, int]
    """Of worker, server and database."""
    midnight: datetime

    async def rows(self, query: str, **given: object) -> list[Any]:
        """Ask the database."""
        async with self.database.connect() as connection:
            return list(await connection.execute(text(query), given))

    async def count(self, query: str) -> int:
        """Count by a query that tells this midnight's sleepers from the next one's."""
        return (await self.rows(query, next=self.following))[0][0]

    @property
    def following(self) -> datetime:
        """Before the midnight after, and after all that wake at this one."""
        return self.midnight + timedelta(hours=23)


@asynccontextmanager
async def open_scene(midnight: datetime) -> AsyncGenerator[Scene]:
    """Start a stack, users whose days are spent, and a worker."""
    async with open_stage() as stage:
        settings = Settings.from_env(stage.environment)
        await upgrade_database(settings.database_url.get_secret_value())
        write_zone(stage.data / "zones", midnight=midnight)
        async with open_database(settings) as database:
            await _write_users(database, midnight)
            with (stage.data / "worker.log").open("wb") as log:
                worker = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "bench.sleeping_worker", cwd=ROOT, stdout=log, stderr=log,
                    env=plain_environment() | HEAP | dict(stage.environment)
                    | zone_environment(stage.data / "zones"),
                )  # fmt: skip
                try:
                    pids = {"worker": worker.pid, **processes.stand_ins()}
                    yield Scene(stage, database, pids, midnight)
                finally:
                    worker.terminate()
                    await worker.wait()


async def _write_users(database: AsyncEngine, midnight: datetime) -> None:
    """Their today ends at `midnight`; a millionth of a dollar a day buys nothing, but lets a build begin."""
    async with database.begin() as connection:
        for user in USERS:
            await connection.execute(text(PEOPLE), {"user": user, "zone": ZONE})
    await spend(database, midnight.date() - timedelta(days=1))


async def spend(database: AsyncEngine, day: date) -> None:
    """Open a day of every user with nothing to buy for; not before it is near, as no day follows it back."""
    async with database.begin() as connection:
        for user in USERS:
            await connection.execute(text(SPENT), {"user": user, "day": day})


async def start_all(scene: Scene, numbers: range) -> None:
    """Start builds, half of them the crowd's, as fast as those before fall asleep, while there is time."""
    for first in numbers[::AT_ONCE]:
        if datetime.now(UTC) > scene.midnight - IDLE - LAST_START:
            return
        await asyncio.gather(*(start(scene, n) for n in numbers[first - numbers[0] :][:AT_ONCE]))
        await reach(scene, "<", first - UNDER_WAY, until=scene.midnight)


async def start(scene: Scene, number: int) -> None:
    """Start one build."""
    user = CROWD if number % 2 else USERS[1 + number // 2 % (len(USERS) - 1)]
    await start_build(scene.stage.client, {"idea": "x", "user": user}, f"sleeper-{number}")


async def reach(scene: Scene, which: str, builds: int, *, until: datetime) -> int:
    """Wait until so many sleep to this midnight (`<`) or the next (`>=`), or time is up; gives how many."""
    query = ASLEEP.format(which)
    while (found := await scene.count(query)) < builds and datetime.now(UTC) < until:  # noqa: ASYNC110 - of another process
        await asyncio.sleep(0.5)
    return found


async def fall_asleep(scene: Scene, builds: int) -> results.Row:
    """Start all and wait until they sleep: how long that took, and what the processes held before."""
    await start_all(scene, range(WARM))
    await reach(scene, "<", WARM, until=scene.midnight)
    row: results.Row = {f"{name}_warm": mb for name, mb in processes.resident_mb(scene.pids).items()}
    began = time.monotonic()
    await start_all(scene, range(WARM, builds))
    asleep = await reach(scene, "<", builds, until=scene.midnight - IDLE)
    if asleep < builds:
        print(f"Only {asleep} sleep, so they are measured; give more time with --midnight-in.", flush=True)
    return row | {"asleep": asleep, "asleep_s": round(time.monotonic() - began, 1)}


async def rest(scene: Scene) -> results.Row:
    """What the processes hold and use while nothing happens."""
    used = processes.cpu_seconds(scene.pids)
    await asyncio.sleep(IDLE.total_seconds())
    minutes = IDLE / timedelta(minutes=1)
    return processes.resident_mb(scene.pids) | {
        f"{name}_cpu_s_a_minute": round((now - used[name]) / minutes, 2)
        for name, now in processes.cpu_seconds(scene.pids).items()
    }


async def wake(scene: Scene, told: Sequence[Any], *, limit: timedelta) -> results.Row:
    """Wait until all have woken, looked and gone back to sleep; how late each did."""
    last = max(row.wake_at for row in told)
    print(f"midnight {scene.midnight:%H:%M:%S}, the last wakes at {last:%H:%M:%S}", flush=True)
    await reach(scene, ">=", len(told), until=last + limit)
    again = dict(map(tuple, await scene.rows(AGAIN, next=scene.following)))
    lag: dict[str, list[float]] = {user: [] for user in (CROWD, "others")}
    for row in told:
        if row.workflow_id in again:
            late = (again[row.workflow_id] - row.wake_at).total_seconds()
            lag[CROWD if row.user_id == CROWD else "others"].append(late)
    everyone = lag[CROWD] + lag["others"]
    return {
        "woke": len(everyone),
        "early": sum(late < 0 for late in everyone),
        "window_s": round((last - scene.midnight).total_seconds(), 1),
        "all_awake_s": round((max(again.values()) - scene.midnight).total_seconds(), 1),
        **{f"lag_{name}_s": _spread(late) for name, late in (*lag.items(), ("all", everyone))},
        "wakes_each_tenth": _histogram([(row.wake_at - scene.midnight).total_seconds() for row in told]),
        "crowd_each_tenth": _histogram(
            [(row.wake_at - scene.midnight).total_seconds() for row in told if row.user_id == CROWD]
        ),
    }


def _spread(seconds: list[float]) -> list[float]:
    """Median, 95th percentile and largest."""
    cuts = quantiles(seconds, n=20)
    return [round(each, 2) for each in (cuts[9], cuts[18], max(seconds))]


def _histogram(seconds: list[float], parts: int = 10) -> list[int]:
    """How many fall into each tenth of the time up to the last."""
    width = max(seconds) / parts
    found = [0] * parts
    for each in seconds:
        found[min(parts - 1, int(each / width))] += 1
    return found


async def main(options: argparse.Namespace) -> int:
    """Put the builds to sleep, watch them, let them wake."""
    midnight = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=options.midnight_in)
    async with open_scene(midnight) as scene:
        row = await fall_asleep(scene, options.builds)
        print(row, flush=True)
        row |= await rest(scene)
        told = await scene.rows(TOLD)
        await spend(scene.database, midnight.date())
        row |= {"system": f"{len(told)} sleepers", "load": os.getloadavg()[0]}
        row |= await wake(scene, told, limit=timedelta(minutes=options.limit))
        row |= {f"{name}_after": mb for name, mb in processes.resident_mb(scene.pids).items()}
    results.keep("sleep", [row])
    print(row, flush=True)
    return 0


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--builds", type=int, default=10_000)
    parser.add_argument("--midnight-in", type=float, default=0, help="seconds; 0: as long as the builds need")
    parser.add_argument("--limit", type=float, default=10, help="minutes after the last wake")
    given = parser.parse_args()
    given.midnight_in = given.midnight_in or 150 + given.builds / 6
    return given


if __name__ == "__main__":
    run(main(parse()))
