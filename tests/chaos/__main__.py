"""The chaos: four scripted builds side by side, while everything that they need is killed again and again.

Meanwhile faults are injected, and people pause builds, take them back and fork them.

Run as `python -m tests.chaos --kills 1000 --seed 1 [--report FILE]`; its last line is `N passed, M failed`
over the builds. The seed gives the order and the gaps of what is done; what each kill hits is timing.
"""

import argparse
import asyncio
import json
import random
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter

from activities.database import open_database
from activities.settings import Settings
from bench.systems import ENVIRONMENTS
from starter.exits import run
from starter.local.parts import Part
from tests.chaos import charges, oracle, records, witness
from tests.chaos.builds import SIDE_BY_SIDE, Built, Tree, begin, difference, finish, insist
from tests.chaos.faults import Faults
from tests.chaos.forks import fork_of
from tests.chaos.kills import Killer
from tests.chaos.leftovers import left_over, processes, sandbox_ids
from tests.chaos.money import judge_requests
from tests.chaos.parts import Parts, open_parts
from tests.chaos.recovery import seconds_after, steps_of
from tests.chaos.report import Report, kills_by_kind, summed_up
from tests.chaos.steering import Steerer

RICH = "UPDATE users SET cycle_budget = 1000000000000 WHERE id = 'local'"
FORKS = 0.5
"""Of the builds, how many are gone on from by another one."""
PLOT = ENVIRONMENTS / "plot" / "bin" / "python"


class Course:
    """One run, from its first build to what is left after its last."""

    def __init__(
        self, parts: Parts, client: Client, engine: AsyncEngine, options: argparse.Namespace
    ) -> None:
        self._parts = parts
        self._client = client
        self._engine = engine
        self._options = options
        self._builds: list[Built] = []
        self._faults = Faults(parts, self._running)
        self._killer = Killer(
            parts, seed=options.seed, most=options.kills, builds=self._running, faults=self._faults
        )
        self._steerer = Steerer(
            client, engine, self._killer, self._faults, seed=options.seed, builds=self._running
        )

    def _running(self) -> list[Built]:
        return [built for built in self._builds if not built.is_over]

    async def run(self) -> Report:
        """Build alone, then among the kills; judge everything at the end, when all is quiet."""
        begun = time.time()
        async with self._engine.begin() as connection:
            await connection.execute(text(RICH))
            await charges.watch(connection)
        await self._build("alone", self._asked("alone"))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._killer.run())
            tasks.create_task(self._steerer.run())
            for lane in range(SIDE_BY_SIDE):
                tasks.create_task(self._lane(lane))
        await self._judge_all()
        steps = {built.build_id: await steps_of(self._client, built) for built in self._builds}
        times = [(kill, seconds_after(kill, self._builds, steps)) for kill in self._killer.kills]
        return summed_up(
            self._builds,
            [(kill, seconds) for kill, seconds in times if seconds is not None],
            seed=self._options.seed,
            kills=kills_by_kind(self._killer.kills),
            faults=dict(self._faults.counts),
            steered=dict(self._steerer.counts),
            seconds=time.time() - begun,
        )

    async def _lane(self, lane: int) -> None:
        """Build one after another until enough was killed, some of them from the midst of the one before."""
        chance, number, last = random.Random(f"{self._options.seed} lane {lane}"), 0, self._builds[0]
        while not self._killer.is_done:
            name = f"chaos-{lane}-{number}"
            is_gone_on, luck = chance.random() < FORKS, random.Random(chance.getrandbits(64))
            forked = await fork_of(last, name, self._engine, luck) if is_gone_on else None
            last = await self._build(name, forked or self._asked(name))
            print(_told(last, len(self._killer.kills)), flush=True)
            number += 1

    def _asked(self, name: str) -> dict[str, Any]:
        words = f"units={self._options.units} slow={self._options.slow}"
        return {"idea": f"[[script:units {words}]] {name}", "project": name}

    async def _build(self, name: str, asked: dict[str, Any]) -> Built:
        built = await begin(self._client, name, asked)
        self._builds.append(built)
        await finish(self._client, built, self._parts.home.part(Part.SANDBOX) / "sandboxes")
        await insist(lambda: self._judge(built))
        return built

    async def _judge(self, built: Built) -> None:
        """Hold a build that is over against the witness, the database and the undisturbed one."""
        told = witness.read(self._parts.witness)
        async with self._engine.connect() as connection:
            built.rows = await records.read(connection, built.build_id)
            charged = await charges.read(connection, built.build_id)
        built.findings = oracle.judge(built.rows, told, charged)
        alone = self._builds[0].tree
        _say(built, [*built.findings.problems, *(_judge_end(built, alone))])

    async def _judge_all(self) -> None:
        """Judge what can only be seen when all is quiet; what is nobody's is the last build's."""
        journal = _journal(self._parts.home.part(Part.MODEL))
        for built in self._builds:
            _say(built, list(judge_requests(built.rows, journal, self._faults.woken)))
        async with self._engine.connect() as connection:
            others = self._faults.counts["sandbox: other_id"]
            left = await left_over(self._parts, self._client, connection, self._builds, others=others)
        _say(self._builds[-1], [*left, *self._steerer.problems()])


def _judge_end(built: Built, alone: Tree | None) -> list[str]:
    if built.tree is None or alone is None:
        return [built.why or "there is no undisturbed build to compare with"]
    return difference(built.tree, alone)


def _journal(data: Path) -> list[dict]:
    (path,) = data.glob("*.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def _told(built: Built, kills: int) -> str:
    end = built.result.status if built.result else built.why
    return f"{kills} kills; {built.name} took {built.ended - built.started:.0f} s: {end}"


def _say(built: Built, problems: Sequence[str]) -> None:
    """Keep problems, and show them at once: a long run is not waited for."""
    built.problems += problems
    for problem in problems:
        print(f"PROBLEM {built.name} {built.build_id}: {problem}", flush=True)


async def main(options: argparse.Namespace) -> int:
    """Run, tell, and draw where a report is wanted."""
    async with open_parts() as parts:
        client = await parts.connect()
        async with open_database(Settings.from_env(parts.environment)) as engine:
            report = await Course(parts, client, engine, options).run()
        directory, sandboxes = parts.home.directory, sandbox_ids(parts)
    if left := processes(directory, sandboxes):
        print(f"PROBLEM left over: processes {left}")
        report.passed, report.failed = report.passed - 1, report.failed + 1
    if options.report:
        report.write(options.report)
        await asyncio.to_thread(
            subprocess.run, [PLOT, Path(__file__).parent / "plot.py", options.report], check=True
        )
    print(report.text(), flush=True)
    return 1 if report.failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=1_000, help="how many kills -9 in all")
    parser.add_argument("--seed", type=int, default=1, help="of what is killed, in which order")
    parser.add_argument("--units", type=int, default=12, help="units of work of a build")
    parser.add_argument("--slow", type=int, default=200, help="milliseconds that each commit takes longer")
    parser.add_argument("--report", type=Path, help="a JSON file to write; the plot is drawn beside it")
    return parser.parse_args()


def _be_quiet() -> None:
    """Keep the SDK from telling of each request that a killed server did not answer."""
    only_errors = TelemetryFilter(core_level="ERROR", other_level="ERROR")
    telemetry = TelemetryConfig(logging=LoggingConfig(filter=only_errors))
    Runtime.set_default(Runtime(telemetry=telemetry))


if __name__ == "__main__":
    _be_quiet()
    run(main(_options()))
