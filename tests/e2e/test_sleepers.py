"""What sleeping builds cost a worker."""

import asyncio
import os
import sys

import pytest

from starter.attach import ROOT

SLEEPERS = 200
WARM = 20
"""Builds that fall asleep first: they load what every build needs."""
LIMIT_BYTES = 40 * 1024 * 1024


@pytest.mark.timeout(600)
async def test_200_sleeping_builds_cost_less_than_40_mb(everything):
    """200 builds asleep on a worker grow it by less than 40 MB, beyond what its first builds load."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.e2e.sleeping_worker", "sleepers",
        cwd=ROOT, env={**os.environ, **everything.environment},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        await _sleep(everything.client, range(WARM))
        before = await _held(process)
        await _sleep(everything.client, range(WARM, WARM + SLEEPERS))
        grown = await _held(process) - before
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


async def _held(process: asyncio.subprocess.Process) -> int:
    """Bytes that the worker holds."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"\n")
    return int(await process.stdout.readline())
