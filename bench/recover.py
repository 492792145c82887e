"""Kill -9 of the worker at a turn, at three moments, on each system: `make bench-recover`.

Time runs from the new worker's start, right after the kill, to the start of the next activity.
"""

import argparse
import asyncio
import json
import re
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from sqlalchemy import text
from temporalio.api.enums.v1 import EventType

from activities.database import open_database
from activities.settings import Settings
from bench import checkpointer, results
from bench.stage import Handle, Stage, ended, open_stage
from bench.systems import CHECKPOINTER, SYSTEMS, System, chosen
from starter.exits import run

MOMENTS = ("between", "model", "tool")
TURNS_AFTER = 3
"""How long the conversation goes on after the kill."""
IN_TOOL = """SELECT count(*) FROM tool_starts s LEFT JOIN tool_results r
    ON r.head_id = s.head_id AND r.tool_use_id = s.tool_use_id
    JOIN transcript t ON t.id = s.head_id WHERE t.build_id = :build AND r.id IS NULL
    AND :before <= (SELECT count(*) FROM tool_results a JOIN transcript b ON b.id = a.head_id
        WHERE b.build_id = :build)"""


async def measure(stage: Stage, system: System, *, moment: str, turn: int, limit: float) -> dict[str, Any]:
    """Kill a worker once, and tell what it cost."""
    stage.calls(system).unlink(missing_ok=True)
    stage.held(system).unlink(missing_ok=True)
    if system is CHECKPOINTER:
        return await _measure_checkpointer(stage, moment=moment, turn=turn, limit=limit)
    async with _model(stage) as model:
        asked = await _requests(model)
        if moment == "model" and not system.module:
            await model.post("/_control/hold", json={"after_events": 3, "after": turn - 1})
        worker = await stage.start_worker(system, hold="" if moment == "between" else f"{moment} {turn}")
        try:
            handle = await stage.start(system, turn + TURNS_AFTER)
            await asyncio.wait_for(_reached(stage, system, handle, moment, turn, model), limit)
            await worker.kill()
            await model.post("/_control/release", json={})
            pending = await _pending(stage, handle)
            born = time.time()
            worker = await stage.start_worker(system)
            ready = time.time()
            outcome = await ended(stage, handle, limit=limit)
        finally:
            await worker.kill()
        asked = await _requests(model) - asked
    read = await stage.read(handle, system)
    following = [at for at in read.starts if at > born]
    return {
        "system": system.name,
        "version": system.version,
        "turns": turn,
        "outcome": outcome,
        "moment": moment,
        "recovery_s": round(min(following) - born, 2) if following else None,
        # A peer's worker is not waited for.
        "worker_start_s": None if system.module else round(ready - born, 2),
        "model_calls_twice": asked - read.done if not system.module else _twice(stage, system),
        "pending_at_kill": pending,
    }


@asynccontextmanager
async def _model(stage: Stage) -> AsyncGenerator[httpx2.AsyncClient]:
    """The switches of the scripted model."""
    headers = {"Authorization": f"Bearer {stage.environment['ANTHROPIC_API_KEY']}"}
    base = stage.environment["ANTHROPIC_BASE_URL"]
    async with httpx2.AsyncClient(base_url=base, headers=headers) as model:
        yield model


async def _requests(model: httpx2.AsyncClient) -> int:
    return int((await model.get("/_control/requests", params={"last": 0})).json()["count"])


def _notes(stage: Stage, system: System) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stage.calls(system).read_text().splitlines()]


def _twice(stage: Stage, system: System) -> int:
    turns = [one["turn"] for one in _notes(stage, system) if one["kind"] == "model"]
    return len(turns) - len(set(turns))


async def _measure_checkpointer(stage: Stage, *, moment: str, turn: int, limit: float) -> dict[str, Any]:
    """The same without a workflow: the next call of the model or a tool stands for the next activity."""
    thread, turns = uuid.uuid4().hex, turn + TURNS_AFTER
    hold = f"{moment} {turn}"
    process = await checkpointer.start(stage, thread, turns, hold=hold)
    held = stage.held(CHECKPOINTER)
    await asyncio.wait_for(_until(lambda: asyncio.to_thread(held.exists)), limit)
    process.kill()
    await process.communicate()
    born = time.time()
    process = await checkpointer.start(stage, thread, turns)
    await asyncio.wait_for(process.communicate(), limit)
    following = [one["at"] for one in _notes(stage, CHECKPOINTER) if one["at"] > born]
    return {
        "system": CHECKPOINTER.name,
        "version": CHECKPOINTER.version,
        "turns": turn,
        "outcome": "died" if process.returncode else "completed",
        "moment": moment,
        "recovery_s": round(min(following) - born, 2) if following else None,
        "model_calls_twice": _twice(stage, CHECKPOINTER),
        "pending_at_kill": [],
    }


async def _pending(stage: Stage, handle: Handle) -> list[str]:
    described = await stage.client.get_workflow_handle(handle.id).describe()
    return [one.activity_type.name for one in described.raw_description.pending_activities]


async def _reached(
    stage: Stage, system: System, handle: Handle, moment: str, turn: int, model: httpx2.AsyncClient
) -> None:
    """Wait for the moment."""
    if moment == "between":
        await _tool_reported(stage, system, handle, turn)
    elif system.module:
        held = stage.held(system)
        await _until(lambda: asyncio.to_thread(held.exists))
    elif moment == "model":
        await _until(lambda: _is_held(model))
    else:
        await _in_our_tool(stage, handle, turn)


async def _tool_reported(stage: Stage, system: System, handle: Handle, turn: int) -> None:
    """Wait until history tells that the turn's tool ended: the next activity is not begun, or only just."""
    run_id, reported, tools = handle.first_execution_run_id, 0, set[int]()
    while run_id:
        following = ""
        one = stage.client.get_workflow_handle(handle.id, run_id=run_id)
        async for event in one.fetch_history_events(wait_new_event=True):
            following = event.workflow_execution_continued_as_new_event_attributes.new_execution_run_id
            scheduled = event.activity_task_scheduled_event_attributes
            if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
                if re.search(system.tool, scheduled.activity_type.name):
                    tools.add(event.event_id)
            elif event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
                reported += event.activity_task_completed_event_attributes.scheduled_event_id in tools
                if reported >= turn:
                    return
        run_id, tools = following, set()


async def _is_held(model: httpx2.AsyncClient) -> bool:
    return (await model.get("/_control/hold")).json()["waiting"] == 1


async def _in_our_tool(stage: Stage, handle: Handle, turn: int) -> None:
    given = {"build": handle.first_execution_run_id, "before": turn - 1}
    async with open_database(Settings.from_env(stage.environment)) as engine:

        async def is_so() -> bool:
            async with engine.connect() as connection:
                return bool((await connection.execute(text(IN_TOOL), given)).scalar_one())

        await _until(is_so, pause=0.005)


async def _until(is_so: Callable[[], Awaitable[bool]], *, pause: float = 0.02) -> None:
    while not await is_so():  # noqa: ASYNC110 - what is waited for is in another process
        await asyncio.sleep(pause)


async def main(options: argparse.Namespace) -> int:
    """Kill at every moment on the chosen systems, on one stack."""
    async with open_stage() as stage:
        for system in chosen(options.systems):
            rows = []
            for moment in MOMENTS[system is CHECKPOINTER :]:  # that one has no moment between
                row = await measure(stage, system, moment=moment, turn=options.turn, limit=options.limit)
                print(row, flush=True)
                rows.append(row)
            results.write("recover", rows)
    return 0


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turn", type=int, default=500)
    parser.add_argument("--limit", type=float, default=3600, help="seconds until the kill, and after it")
    parser.add_argument("--systems", default="", help=f"some of {','.join(SYSTEMS)}")
    return parser.parse_args()


if __name__ == "__main__":
    run(main(parse()))
