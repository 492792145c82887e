"""What breaks, when: a seeded order of kills and faults, and how each is done to real processes."""

import asyncio
import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from starter.local.parts import Part
from starter.local.processes import started_at
from tests.chaos.builds import Built
from tests.chaos.parts import Parts

KINDS = {
    "worker": 24,
    "sandbox": 18,
    "runner": 22,
    "sandbox server": 9,
    "temporal": 9,
    "redis": 9,
    "postgres": 9,
}
"""What is killed -9, and how often in a hundred."""
PART_OF = {
    "sandbox server": Part.SANDBOX,
    "temporal": Part.TEMPORAL,
    "redis": Part.REDIS,
    "postgres": Part.POSTGRES,
}
MODEL_FAULTS = ("rate_limit", "overloaded", "server_error", "cut", "disconnect", "sse_error", "slow_start")
SANDBOX_FAULTS = (
    {"kind": "bad_gateway"},
    {"kind": "server_error"},
    {"kind": "server_error", "path": "/sandboxes"},
    {"kind": "lost_answer"},
    {"kind": "lost_answer", "path": "/sandboxes"},
    {"kind": "drop"},
    {"kind": "stall", "seconds": 2.0},
    {"kind": "rate_limit", "seconds": 1.0},
    {"kind": "killed"},
)
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
    kills: list[Kill] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=dict)
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
                await self._inject(luck)
        await asyncio.gather(*self._starting)
        await self._clear_faults()

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

    def _records(self) -> Iterator[dict]:
        """What the sandbox server keeps of each sandbox of a running build."""
        running = {built.build_id for built in self.builds()}
        for path in (self.parts.home.part(Part.SANDBOX) / "sandboxes").glob("*/record.json"):
            with suppress(OSError, ValueError):
                record = json.loads(path.read_text())
                if record["metadata"].get("build") in running:
                    yield record

    def _sandboxes(self) -> Iterator[tuple[int, str]]:
        for record in self._records():
            pid, _ = record["process"] or (0, 0)
            if record["state"] == "running" and pid and started_at(pid):
                yield pid, record["metadata"]["build"]

    def _runners(self) -> Iterator[tuple[int, str]]:
        of = {record["sandbox_id"]: record["metadata"]["build"] for record in self._records()}
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if b"/runner-" not in (path / "cmdline").read_bytes():
                    continue
                words = (path / "environ").read_bytes().split(b"\0")
                named = next((word for word in words if word.startswith(b"E2B_SANDBOX_ID=")), b"=")
                sandbox_id = named.partition(b"=")[2].decode()
                if sandbox_id in of and (path / "cmdline").read_bytes().startswith(b"python3"):
                    yield int(path.name), of[sandbox_id]

    async def _inject(self, chance: random.Random) -> None:
        environment = self.parts.environment
        if chance.random() < 0.5:
            kind = chance.choice(MODEL_FAULTS)
            sent = await _post(
                f"{environment['ANTHROPIC_BASE_URL']}/_control/faults",
                {"Authorization": f"Bearer {environment['ANTHROPIC_API_KEY']}"},
                [{"kind": kind, "seconds": 1.0}],
            )
            name = f"model: {kind}"
        else:
            fault = chance.choice(SANDBOX_FAULTS)
            sent = await _post(
                f"{environment['E2B_API_URL']}/_control/faults",
                {"X-API-KEY": environment["E2B_API_KEY"]},
                fault,
            )
            name = f"sandbox: {fault['kind']}"
        self.faults[name] = self.faults.get(name, 0) + sent

    async def _clear_faults(self) -> None:
        environment = self.parts.environment
        await _post(
            f"{environment['ANTHROPIC_BASE_URL']}/_control/faults",
            {"Authorization": f"Bearer {environment['ANTHROPIC_API_KEY']}"},
            [],
        )
        headers = {"X-API-KEY": environment["E2B_API_KEY"]}
        async with httpx2.AsyncClient(trust_env=False, headers=headers) as client:
            await client.delete(f"{environment['E2B_API_URL']}/_control/faults")


async def _post(url: str, headers: dict[str, str], body: list | dict) -> bool:
    """Set faults; false when the server is down just now."""
    with suppress(httpx2.TransportError):
        async with httpx2.AsyncClient(trust_env=False, headers=headers) as client:
            (await client.post(url, json=body)).raise_for_status()
            return True
    return False
