"""LangGraph's own Postgres checkpointer: what the same conversation costs in a database, without Temporal."""

import asyncio
import json
import uuid
from collections.abc import Sequence

from bench.results import Row
from bench.stage import Stage
from bench.systems import BENCH, CHECKPOINTER
from starter.local.supervisor import plain_environment


async def start(stage: Stage, thread: str, turns: int, *, hold: str = "") -> asyncio.subprocess.Process:
    """Start a process that plays the conversation of a thread, or its rest."""
    database = stage.environment["DATABASE_URL"].replace("postgresql+asyncpg:", "postgresql:")
    return await asyncio.create_subprocess_exec(
        str(CHECKPOINTER.python), "-m", "peers.langgraph_postgres", database, thread, str(turns),
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
    """Play a conversation of each length: what is written behind is whole only at a conversation's end."""
    rows: list[Row] = []
    async with asyncio.timeout(limit):
        for point in [*(point for point in checkpoints if point < turns), turns]:
            process = await start(stage, uuid.uuid4().hex, point)
            output, _ = await process.communicate()
            outcome = f"died: status {process.returncode}" if process.returncode else "completed"
            told = json.loads(output.splitlines()[-1]) if output else {"turns": point}
            row = {"system": CHECKPOINTER.name, "version": CHECKPOINTER.version, "outcome": outcome}
            rows.append(row | told)
    return rows
