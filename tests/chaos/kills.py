"""What breaks, when: a seeded order of kills and faults, and how each is done to real processes."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from starter.local.parts import Part
from tests.chaos.builds import Built
from tests.chaos.faults import Faults
from tests.chaos.parts import Parts
from tests.chaos.sandboxes import of_builds, runners

KINDS = {
    "worker": 22,
    "sandbox": 16,
    "runner": 20,
    "sandbox server": 9,
    "temporal": 8,
    "redis": 8,
    "postgres": 9,
    "s3": 8,
}
"""What is killed -9, and how often in a hundred."""
PART_OF = {
    "sandbox server": Part.SANDBOX,
    "temporal": Part.TEMPORAL,
    "redis": Part.REDIS,
    "postgres": Part.POSTGRES,
    "s3": Part.S3,
}
FAULTS_A_KILL = 0.4
GAP_SECONDS = (0.0, 1.2)
"""Between two kills, once the builds have moved on since the last one."""
STILL_SECONDS = 10
"""How long they may stand still until they are hit again."""
LONGEST_DOWN = 1.5
"""Seconds that a killed server stays down, at most."""
LOOKS = 400
"""How often a runner or a sandbox is looked for before another kill takes its place."""
TOLD_EVERY = 20
"""Kills."""


@dataclass(frozen=True)
class Kill:
    """One that was done."""

    kind: str
    at: float
    """Seconds since the epoch."""
    build_id: str = ""
    """The one it hit; empty: any."""


@dataclass
class Killer:
    """Kills so often, in the order of its seed."""

    parts: Parts
    seed: int
    most: int
    builds: Callable[[], list[Built]]
    """Those that run."""
    faults: Faults
    kills: list[Kill] = field(default_factory=list)
    _down: set[Part] = field(default_factory=set)
    _starting: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def is_done(self) -> bool:
        """Whether it has killed as often as it should."""
        return len(self.kills) >= self.most

    async def run(self) -> None:
        """Kill and inject until it is done; whatever was killed runs again when this returns."""
        chance = random.Random(self.seed)
        while not self.is_done:
            await self._until_moved()
            await asyncio.sleep(chance.uniform(*GAP_SECONDS))
            kind = chance.choices(list(KINDS), list(KINDS.values()))[0]
            faulty = chance.random() < FAULTS_A_KILL
            # What is drawn of what there happens to be must not shift the order of the next rounds.
            luck = random.Random(chance.getrandbits(64))
            if self.builds():
                await self._kill(kind, luck)
            if faulty:
                await self.faults.inject(luck)
        await asyncio.gather(*self._starting)
        await self.faults.clear()

    async def _until_moved(self) -> None:
        """Wait until a command has begun or ended: a slow machine is not killed faster than it works."""
        before, deadline = self.parts.witness.stat().st_size, time.monotonic() + STILL_SECONDS
        while self.parts.witness.stat().st_size == before and time.monotonic() < deadline:
            await asyncio.sleep(0.02)

    async def _kill(self, kind: str, chance: random.Random) -> None:
        match kind:
            case "worker":
                await self._kill_worker(chance)
            case "sandbox":
                await self._kill_inside(kind, self._sandboxes, chance)
            case "runner":
                await self._kill_inside(kind, self._runners, chance)
            case _:
                await self._kill_part(kind, chance)

    async def _kill_worker(self, chance: random.Random) -> None:
        worker = chance.choice(self.parts.workers)
        with suppress(ProcessLookupError):
            os.kill(worker.pid, signal.SIGKILL)
            self._note("worker")

    async def _kill_inside(
        self, kind: str, found: Callable[[], Iterator[tuple[int, str]]], chance: random.Random
    ) -> None:
        """Kill a process that belongs to a running build, once there is one."""
        for _ in range(LOOKS):
            if candidates := list(found()):
                pid, build_id = chance.choice(candidates)
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self._note(kind, build_id)
                    return
            await asyncio.sleep(0.005)

    async def _kill_part(self, kind: str, chance: random.Random) -> None:
        part = PART_OF[kind]
        if part in self._down:
            return
        self._down.add(part)
        await self.parts.kill(part)
        self._note(kind)
        task = asyncio.create_task(self._start_again(part, chance.uniform(0, LONGEST_DOWN)))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _start_again(self, part: Part, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self.parts.start(part)
        self._down.discard(part)

    def _note(self, kind: str, build_id: str = "") -> None:
        self.kills.append(Kill(kind, time.time(), build_id))
        if len(self.kills) % TOLD_EVERY == 0:
            print(f"{len(self.kills)} kills", flush=True)

    def _sandboxes(self) -> Iterator[tuple[int, str]]:
        for each in of_builds(self.parts, self._running()):
            if each.is_awake:
                yield each.pid, each.build_id

    def _runners(self) -> Iterator[tuple[int, str]]:
        found = of_builds(self.parts, self._running())
        return runners({each.sandbox_id: each.build_id for each in found})

    def _running(self) -> set[str]:
        return {built.build_id for built in self.builds()}
