"""A worker process of one small workflow, which is queried: `python -m tests.e2e.queried_worker QUEUE`."""

import asyncio
import sys
from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from temporalio.worker import Worker

    from starter.connect import connect
    from starter.exits import run, until_told
    from worker import workflow_runner

ACTIVITIES = "queried-activities"
STICKY = timedelta(seconds=2)
"""How long what is meant for a dead worker waits for it."""
LONGEST = timedelta(minutes=1)
"""How long an activity may take, the wait for the gate of the first in it."""


@workflow.defn
class Queried:
    """Does one thing where it hears the end of `first` alone, and another where it hears a signal with it."""

    def __init__(self) -> None:
        self._is_paused = False

    @workflow.signal
    def pause(self) -> None:
        self._is_paused = True

    @workflow.query
    def is_paused(self) -> bool:
        return self._is_paused

    @workflow.run
    async def run(self) -> str:
        await workflow.execute_activity("first", task_queue=ACTIVITIES, schedule_to_close_timeout=LONGEST)
        name = "paused" if self._is_paused else "second"
        await workflow.execute_activity(name, task_queue=ACTIVITIES, schedule_to_close_timeout=LONGEST)
        return name


async def main(queue: str) -> int:
    """Work on a queue until told to end; a line is printed when it does."""
    options = {"workflow_runner": workflow_runner(), "sticky_queue_schedule_to_start_timeout": STICKY}
    async with Worker(await connect(), task_queue=queue, workflows=[Queried], **options):
        print("working", flush=True)  # noqa: T201 what started it waits for this
        await until_told(asyncio.Event().wait())
    return 0


if __name__ == "__main__":
    run(main(sys.argv[1]))
