"""The schedule that starts the janitor; each worker sets it when it begins, all of them the same one."""

import logging
from dataclasses import replace
from datetime import timedelta

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError

from starter.attach import TASK_QUEUE

SCHEDULE = "janitor"
EVERY = timedelta(minutes=10)

log = logging.getLogger(__name__)


async def keep_janitor(client: Client) -> None:
    """Make the schedule, or bring it up to date; one that a person paused stays paused.

    A server that lets us make none keeps no worker from its builds.
    """
    try:
        await _set(client)
    except RPCError as error:
        log.warning("There is no janitor (%s): what terminated builds leave open stays so.", error.message)


async def _set(client: Client) -> None:
    wanted = _schedule()
    try:
        await client.create_schedule(SCHEDULE, wanted)
    except ScheduleAlreadyRunningError:
        await client.get_schedule_handle(SCHEDULE).update(lambda found: _updated(wanted, found))


def _updated(wanted: Schedule, found: ScheduleUpdateInput) -> ScheduleUpdate:
    return ScheduleUpdate(replace(wanted, state=found.description.schedule.state))


def _schedule() -> Schedule:
    return Schedule(
        action=ScheduleActionStartWorkflow(
            "JanitorWorkflow",
            id=SCHEDULE,
            task_queue=TASK_QUEUE,
            static_summary="closes what terminated builds left open",
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=EVERY)]),
        # One round does what many missed ones would have done.
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=EVERY),
    )
