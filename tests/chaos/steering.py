"""What people do to running builds meanwhile, drawn from the seed: pause and resume them, take them back."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import (
    Client,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.service import RPCError, RPCStatusCode

from activities.branches import points
from tests.chaos.builds import Built
from tests.chaos.faults import Faults
from tests.chaos.kills import Killer
from tests.chaos.sandboxes import is_awake

EVERY_KILLS = (2, 6)
"""Kills between two that are steered."""
KINDS = {"pause": 6, "rewind": 4}
RESUME_FAULTS = ("", "stale_files", "other_id")
"""What waits for a paused sandbox."""
PATIENCE_SECONDS = 30
"""How long a build may take to pause, or to take an update, before it is left alone."""
ANSWER = timedelta(seconds=3)
"""How long one answer is waited for."""
NEWEST = 6
"""The restore points that are gone back to."""


class _Over(Exception):
    """The build has ended."""


@dataclass
class Steerer:
    """Speaks to running builds as long as others kill."""

    client: Client
    engine: AsyncEngine
    killer: Killer
    faults: Faults
    seed: int
    builds: Callable[[], list[Built]]
    counts: Counter[str] = field(default_factory=Counter)
    awake: list[str] = field(default_factory=list)
    """Sandboxes that ran although the builds that work in them had paused."""

    async def run(self) -> None:
        """Steer one build after another; none is left paused."""
        chance = random.Random(f"{self.seed} steered")
        while await self._until_kills(len(self.killer.kills) + chance.randint(*EVERY_KILLS)):
            kind = chance.choices(list(KINDS), list(KINDS.values()))[0]
            luck = random.Random(chance.getrandbits(64))
            if running := self.builds():
                with suppress(_Over):
                    await self._steer(kind, luck.choice(running), luck)

    def problems(self) -> list[str]:
        """Say which pauses left a sandbox running, and whether rewinds fail.

        A build that ends, or whose point is pruned, may refuse one.
        """
        refused, done = self.counts["rewinds refused"], self.counts["rewound"]
        said = [f"{refused} rewinds were refused and {done} made"] if refused > 2 + done else []
        return said + [f"sandbox {each} ran while its build was paused" for each in self.awake]

    async def _until_kills(self, number: int) -> bool:
        """Wait for so many kills; false once there will be none."""
        while len(self.killer.kills) < number and not self.killer.is_done:
            await asyncio.sleep(0.1)
        return not self.killer.is_done

    async def _steer(self, kind: str, built: Built, chance: random.Random) -> None:
        if kind == "pause":
            await self._pause(built, chance.choice(RESUME_FAULTS))
        else:
            await self._rewind(built, chance)

    async def _pause(self, built: Built, fault: str) -> None:
        """Pause a build, its sandbox first made to come back otherwise, and resume it whatever happens."""
        if fault and (sandbox_id := (await self._status(built)).get("sandbox_id")):
            await self.faults.sandbox({"kind": fault, "sandbox": sandbox_id})
        try:
            await self._signal(built, "pause")
            told = await self._until_paused(built)
        finally:
            await self._signal(built, "resume")
        self.counts[told] += 1

    async def _signal(self, built: Built, name: str) -> None:
        """Send a signal until the server has it; raises _Over."""
        while not built.is_over:
            try:
                await self._handle(built).signal(name, rpc_timeout=ANSWER)
            except RPCError as error:
                _heed_end(error)
            else:
                return
            await asyncio.sleep(0.2)
        raise _Over

    async def _until_paused(self, built: Built) -> str:
        """Wait until a build says that it is paused; the sandbox that it names must not run then.

        There may be others: one whose creation was never answered is nobody's until the sweep.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline and not built.is_over:
            status = await self._status(built)
            if status.get("status") == "PAUSED":
                if not is_awake(self.faults.parts, built.build_id, status["sandbox_id"]):
                    return "paused and resumed"
                self.awake.append(status["sandbox_id"])
                return "paused, not its sandbox"
            await asyncio.sleep(0.2)
        return "not paused in time"

    async def _status(self, built: Built) -> dict[str, Any]:
        """Ask a build how it stands; empty while nobody answers. Raises _Over."""
        with suppress(WorkflowQueryFailedError):
            try:
                return await self._handle(built).query("status", rpc_timeout=ANSWER)
            except RPCError as error:
                _heed_end(error)
        return {}

    async def _rewind(self, built: Built, chance: random.Random) -> None:
        """Take a build back to a kept restore point; the same update is sent until it is answered."""
        kept = await self._kept(built)
        wanted = chance.choice(kept) if kept else 0
        name, deadline = f"rewind-{chance.getrandbits(64):x}", time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline and not built.is_over:
            if answer := await self._answer(built, {"turn": wanted}, name):
                self.counts[answer] += 1
                return
            await asyncio.sleep(0.2)
        self.counts["rewinds given up"] += 1

    async def _answer(self, built: Built, point: dict[str, int], name: str) -> str:
        """Ask a build to go back, and give what it did; empty while nobody knows. Raises _Over."""
        try:
            await self._handle(built).execute_update("rewind", point, id=name, rpc_timeout=ANSWER)
        except WorkflowUpdateFailedError:
            return "rewinds refused"
        except WorkflowUpdateRPCTimeoutOrCancelledError:
            return ""
        except RPCError as error:
            _heed_end(error)
            return ""
        return "rewound"

    async def _kept(self, built: Built) -> list[int]:
        """Give the turns of the newest restore points; none while the database is away."""
        with suppress(DBAPIError, OSError):
            async with self.engine.connect() as connection:
                return [point.turn for point in await points(connection, built.build_id)][-NEWEST:]
        return []

    def _handle(self, built: Built) -> WorkflowHandle:
        return self.client.get_workflow_handle(built.name, first_execution_run_id=built.build_id)


def _heed_end(error: RPCError) -> None:
    """Take an outage as it is; raises _Over where there is nobody to speak to any more."""
    if error.status is RPCStatusCode.NOT_FOUND:
        raise _Over from error
