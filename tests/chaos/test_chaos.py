"""The chaos, short: what `make chaos` does with a thousand kills, with forty in each run of the tests."""

import asyncio
import sys

import pytest

from starter.attach import ROOT
from starter.local.supervisor import plain_environment

KILLS = 40
SEED = 8
"""With it two of the first four builds go on from the undisturbed one."""


@pytest.mark.timeout(600)
async def test_forty_kills_lose_double_and_leave_nothing():
    """Every build ends as the undisturbed one, forks too; nothing ran or was paid twice, nothing is left."""
    words = ["--kills", str(KILLS), "--seed", str(SEED), "--units", "4", "--slow", "100"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.chaos", *words),
        cwd=ROOT,
        env=plain_environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    told = output.decode()
    print(told)

    assert 0 == process.returncode, told
    assert told.rstrip().endswith(" passed, 0 failed")
    assert "forks among them: 0" not in told
