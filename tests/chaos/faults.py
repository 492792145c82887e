"""Faults that kill nothing, drawn from the seed: switches of two servers, and workers that stand still."""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx2

from starter.local.sandbox.limits import Limits
from tests.chaos.builds import Built
from tests.chaos.parts import Parts
from tests.chaos.sandboxes import in_work

MODEL_FAULTS = ("rate_limit", "overloaded", "server_error", "cut", "disconnect", "sse_error", "slow_start")
REQUEST_FAULTS = (
    {"kind": "bad_gateway"},
    {"kind": "server_error"},
    {"kind": "server_error", "path": "/sandboxes"},
    {"kind": "lost_answer"},
    {"kind": "lost_answer", "path": "/sandboxes"},
    {"kind": "drop"},
    {"kind": "stall", "seconds": 2.0},
    {"kind": "rate_limit", "seconds": 1.0},
    {"kind": "killed"},
    {"kind": "other_id"},
)
"""They hit a request to come."""
SANDBOX_FAULTS = ("disk_full", "disk_full", "aged")
"""They hit at once a sandbox that is worked in."""
FULL_SECONDS = (0.5, 5.0)
"""How long its disk is full."""
LEFT_SECONDS = (0.0, 4.0)
"""How long an aged sandbox has left."""
STILL_SECONDS = (1.0, 9.0)
"""How long a worker stands still, as on a machine that is suspended: mostly longer than a heartbeat may be
late, so that it goes on with what others have begun again."""


@dataclass
class Faults:
    """Throws switches, and counts what was thrown."""

    parts: Parts
    builds: Callable[[], list[Built]]
    """Those that run."""
    counts: Counter[str] = field(default_factory=Counter)
    woken: list[float] = field(default_factory=list)
    """When each worker that stood still went on, seconds since the epoch."""
    _still: set[asyncio.Task[None]] = field(default_factory=set)

    async def inject(self, chance: random.Random) -> None:
        """Throw one."""
        match chance.choices(("model", "request", "sandbox", "worker"), (40, 30, 18, 12))[0]:
            case "model":
                await self._model(chance.choice(MODEL_FAULTS))
            case "request":
                await self.sandbox(chance.choice(REQUEST_FAULTS))
            case "worker":
                self._stand_still(chance)
            case _:
                await self._at_once(chance.choice(SANDBOX_FAULTS), chance)

    async def sandbox(self, fault: dict[str, str | float]) -> None:
        """Throw one of the sandbox server."""
        environment = self.parts.environment
        headers = {"X-API-KEY": environment["E2B_API_KEY"]}
        sent = await _post(f"{environment['E2B_API_URL']}/_control/faults", headers, fault)
        self.counts[f"sandbox: {fault['kind']}"] += sent

    async def _at_once(self, kind: str, chance: random.Random) -> None:
        full, left = chance.uniform(*FULL_SECONDS), chance.uniform(*LEFT_SECONDS)
        if not (found := in_work(self.parts, {built.build_id for built in self.builds()})):
            return
        hit = chance.choice(found)
        ran = (datetime.now(UTC) - hit.run_began_at).total_seconds()
        late = Limits().longest_run.total_seconds() - ran - left
        seconds = full if kind == "disk_full" else max(0.0, late)
        await self.sandbox({"kind": kind, "sandbox": hit.sandbox_id, "seconds": seconds})

    def _stand_still(self, chance: random.Random) -> None:
        """Stop a worker where it is, and let it go on after a while."""
        pid, seconds = chance.choice(self.parts.workers).pid, chance.uniform(*STILL_SECONDS)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            self.counts["worker: stood still"] += 1
            task = asyncio.create_task(self._go_on(pid, seconds))
            self._still.add(task)
            task.add_done_callback(self._still.discard)

    async def _go_on(self, pid: int, seconds: float) -> None:
        """Let a process go on; it may have been killed meanwhile."""
        await asyncio.sleep(seconds)
        self.woken.append(time.time())
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    async def _model(self, kind: str) -> None:
        environment = self.parts.environment
        headers = {"Authorization": f"Bearer {environment['ANTHROPIC_API_KEY']}"}
        url = f"{environment['ANTHROPIC_BASE_URL']}/_control/faults"
        self.counts[f"model: {kind}"] += await _post(url, headers, [{"kind": kind, "seconds": 1.0}])

    async def clear(self) -> None:
        """Take back what has not hit yet, and wait until every worker goes on."""
        await asyncio.gather(*self._still)
        environment = self.parts.environment
        model = {"Authorization": f"Bearer {environment['ANTHROPIC_API_KEY']}"}
        await _post(f"{environment['ANTHROPIC_BASE_URL']}/_control/faults", model, [])
        headers = {"X-API-KEY": environment["E2B_API_KEY"]}
        async with httpx2.AsyncClient(trust_env=False, headers=headers) as client:
            await client.delete(f"{environment['E2B_API_URL']}/_control/faults")


async def _post(url: str, headers: dict[str, str], body: list | dict) -> bool:
    """Set faults; false when the server is down just now, or the sandbox is gone."""
    with suppress(httpx2.TransportError, httpx2.HTTPStatusError):
        async with httpx2.AsyncClient(trust_env=False, headers=headers) as client:
            (await client.post(url, json=body)).raise_for_status()
            return True
    return False
