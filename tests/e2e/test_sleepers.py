"""What sleeping builds cost a worker."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from starter.attach import ROOT
from starter.worker_process import HEAP

SLEEPERS = 200
WARM = 50
"""Builds that fall asleep first: a burst of them makes the worker's pools and heaps as large as they get."""
LIMIT_BYTES = 40 * 1024 * 1024


@pytest.mark.timeout(600)
async def test_200_sleeping_builds_cost_less_than_40_mb(everything):
    """200 builds asleep on a worker grow it by less than 40 MB, beyond what its first builds load."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.e2e.sleeping_worker", "sleepers",
        cwd=ROOT, env={**os.environ, **HEAP, **everything.environment},
    )  # fmt: skip
    try:
        await _sleep(everything.client, range(WARM))
        before = _resident(process.pid)
        await _sleep(everything.client, range(WARM, WARM + SLEEPERS))
        grown = _resident(process.pid) - before
    finally:
        process.terminate()
        assert 0 == await process.wait()

    assert grown < LIMIT_BYTES, f"{grown / 1024 / 1024:.0f} MB"


async def _sleep(client, numbers) -> None:
    """Start builds and wait until the server lists all of them as asleep."""
    for number in numbers:
        await client.start_workflow(
            "BuildWorkflow", {"idea": "x"}, id=f"sleeper-{number}", task_queue="sleepers"
        )
    asleep = "TaskQueue = 'sleepers' AND BuildStatus = 'SLEEPING'"
    async with asyncio.timeout(180):
        while (await client.count_workflows(asleep)).count <= max(numbers):
            await asyncio.sleep(0.5)


def _resident(pid: int) -> int:
    """Resident bytes of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise LookupError(pid)
