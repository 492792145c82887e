"""LangGraph's own Postgres checkpointer: what the same conversation costs in a database, without Temporal."""

import asyncio
import contextlib
import json
import uuid
from collections.abc import Sequence

from bench.results import Row
from bench.stage import Stage
from bench.systems import BENCH, CHECKPOINTER
from starter.local.supervisor import plain_environment


async def start(
    stage: Stage, thread: str, turns: int, *, checkpoints: Sequence[int] = (), hold: str = ""
) -> asyncio.subprocess.Process:
    """Start a process that plays the conversation of a thread, or its rest."""
    database = stage.environment["DATABASE_URL"].replace("postgresql+asyncpg:", "postgresql:")
    return await asyncio.create_subprocess_exec(
        str(CHECKPOINTER.python), "-m", "peers.langgraph_postgres", database, thread, str(turns),
        *map(str, checkpoints),
        cwd=BENCH,
        env=plain_environment()
        | {
            "BENCH_LOG": str(stage.calls(CHECKPOINTER)),
            "BENCH_HOLD": hold,
            "BENCH_HELD": str(stage.held(CHECKPOINTER)),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=(stage.data / f"{CHECKPOINTER.name}.log").open("a"),
    )  # fmt: skip


async def measure(stage: Stage, checkpoints: Sequence[int], *, turns: int, limit: float) -> list[Row]:
    """Play the conversation once; a row at each checkpoint."""
    points = [point for point in checkpoints if point < turns] + [turns]
    process = await start(stage, uuid.uuid4().hex, turns, checkpoints=points)
    try:
        output, _ = await asyncio.wait_for(_output(process), limit), await process.wait()
        outcome = "completed" if process.returncode == 0 else "died"
    except TimeoutError:
        output, outcome = [], f"stopped after {limit:.0f} s"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    told = [json.loads(line) for line in output]
    rows = [row for row in told if "turns" in row]
    return [
        {
            "system": CHECKPOINTER.name,
            "version": CHECKPOINTER.version,
            "outcome": outcome if row is rows[-1] else "alive",
            **row,
        }
        for row in rows
    ]


async def _output(process: asyncio.subprocess.Process) -> list[bytes]:
    assert process.stdout is not None
    return [line async for line in process.stdout]
