"""What a long build costs: history, requests, and one build over many runs."""

import itertools

from temporalio.api.enums.v1 import EventType

from starter.commands import start_build
from tests.e2e.test_prefix import assert_starts_with, requests_of
from tests.histories import replay
from workflows.models import BuildResult

TURNS = 62


async def test_turn_60_costs_what_turn_10_cost(everything, open_worker, model_control):
    """History bytes of turn 60 are within 10 % of those of turn 10, and each request starts with the last.

    Every fifth turn runs a command that prints 5 KB, the others only tell; history holds references and
    previews of both.
    """
    request = {"idea": f"[[script:long turns={TURNS} told=4]]", "project": "long", "max_tool_calls": 200}
    async with open_worker():
        handle = await start_build(everything.client, request, "long")
        result = BuildResult.model_validate(await handle.result())
        sizes = await _bytes_by_turn(handle)
        await replay(handle)
    sent = await requests_of(model_control)

    assert "READY" == result.status
    assert TURNS + 1 == len(sizes)
    ten, sixty = sum(sizes[7:12]) / 5, sum(sizes[57:62]) / 5
    assert abs(sixty - ten) <= ten / 10
    assert max(sizes[:-1]) < 8_000
    assert len(sent) > TURNS
    for before, after in itertools.pairwise(each["digests"] for each in sent):
        assert_starts_with(before, after)


async def _bytes_by_turn(handle) -> list[int]:
    """Bytes of the events from one call of the model to the next."""
    sizes: list[int] = []
    async for event in handle.fetch_history_events():
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            name = event.activity_task_scheduled_event_attributes.activity_type.name
            if name == "call_model":
                sizes.append(0)
        if sizes:
            sizes[-1] += event.ByteSize()
    return sizes


async def test_continue_as_new_is_one_build(everything, open_worker):
    """A build of several runs is one conversation, one workspace and one bill."""
    request = {"idea": "[[script:long turns=7]]", "project": "runs", "turns_per_run": 3}
    async with open_worker():
        handle = await start_build(everything.client, request, "runs")
        result = BuildResult.model_validate(await handle.result())

    assert ("READY", 8, 7) == (result.status, result.turns, result.tool_calls)
