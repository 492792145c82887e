"""A provider that is away for hours, on fakes and a skipped clock."""

from datetime import timedelta

from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import WorkflowHandle

from activities.retry_after import LONGEST_DELAY
from tests.fakes import World, passing
from tests.handles import ready, until
from tests.histories import activity_names

PAUSE = LONGEST_DELAY
"""Between two attempts."""
HOURS = timedelta(hours=5)


async def test_outage_of_hours_is_waited_out(sleeping_bench):
    """The model is asked again and again for five hours; the build then ends READY as if nothing had been."""
    away = HOURS // PAUSE
    world = World(faults={"call_model": [*[passing(PAUSE)] * away, None]})
    async with sleeping_bench(world) as on:
        began = await on.environment.get_current_time()
        handle = await on.start()
        result = await ready(handle)
        ended = await on.environment.get_current_time()
        names = await activity_names(handle)

    assert ended - began >= HOURS
    assert world.attempts.count("call_model") == away + 1
    assert (result.turns, names.count("call_model")) == (1, 1)


async def test_outage_can_be_seen_from_outside(sleeping_bench):
    """While it lasts, the pending call tells why its last attempt failed and that another will be made."""
    world = World(faults={"call_model": [passing(HOURS), None]})
    async with sleeping_bench(world) as on:
        handle = await on.start()
        with on.environment.auto_time_skipping_disabled():
            status = await until(handle, "CODE")
            call = await failed_call(handle)
        await ready(handle)

    assert (status.stage, status.turns) == ("CODE", 0)
    assert (call.activity_type.name, call.last_failure.message) == ("call_model", "try again")
    assert call.attempt == 2


async def failed_call(handle: WorkflowHandle) -> PendingActivityInfo:
    """Wait until an attempt of an activity has failed, and give that activity."""
    while True:
        pending = (await handle.describe()).raw_description.pending_activities
        if found := next((one for one in pending if one.HasField("last_failure")), None):
            return found
