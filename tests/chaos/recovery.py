"""How long it took after each kill until every build that it could hit had finished a step again."""

from bisect import bisect_right
from collections.abc import Sequence

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from tests.chaos.builds import Built
from tests.chaos.kills import Kill


async def steps_of(client: Client, built: Built) -> list[float]:
    """Give when each activity of a build was completed, over all its runs, seconds since the epoch."""
    found: list[float] = []
    run_id = built.build_id
    while run_id:
        handle = client.get_workflow_handle(built.name, run_id=run_id)
        events = [event async for event in handle.fetch_history_events()]
        found += [
            event.event_time.ToNanoseconds() / 1e9
            for event in events
            if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED
        ]
        run_id = events[-1].workflow_execution_continued_as_new_event_attributes.new_execution_run_id
    return sorted(found)


def seconds_after(kill: Kill, builds: Sequence[Built], steps: dict[str, list[float]]) -> float | None:
    """Give the longest time to the next step of a build that ran then; none where none ran."""
    waits: list[float] = []
    for built in builds:
        if built.started < kill.at < built.ended and kill.build_id in ("", built.build_id):
            done = steps[built.build_id]
            place = bisect_right(done, kill.at)
            waits.append((done[place] if place < len(done) else built.ended) - kill.at)
    return max(waits, default=None)


def percentile(values: Sequence[float], share: float) -> float:
    """Give the value below which this share lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
