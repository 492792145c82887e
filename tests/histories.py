"""Reading and replaying the history of a run."""

from collections.abc import AsyncIterator
from datetime import timedelta

from temporalio.client import Client, WorkflowHandle, WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer

from worker import workflow_runner
from workflows.build import BuildWorkflow
from workflows.fairness import FairShares
from workflows.heartbeats import Heartbeats
from workflows.options import HEARTBEAT


async def activity_names(handle: WorkflowHandle) -> list[str]:
    """The activities of a run in the order they were scheduled."""
    history = await handle.fetch_history()
    return [
        event.activity_task_scheduled_event_attributes.activity_type.name
        for event in history.events
        if event.HasField("activity_task_scheduled_event_attributes")
    ]


def heartbeat_timeouts(history: WorkflowHistory) -> list[timedelta]:
    """The heartbeat timeout of each activity of a run, in the order they were scheduled."""
    return [
        event.activity_task_scheduled_event_attributes.heartbeat_timeout.ToTimedelta()
        for event in history.events
        if event.HasField("activity_task_scheduled_event_attributes")
    ]


async def chain(client: Client, handle: WorkflowHandle) -> AsyncIterator[WorkflowHistory]:
    """The histories of a build's runs, the first run first."""
    run_id = handle.result_run_id or ""
    while run_id:
        history = await client.get_workflow_handle(handle.id, run_id=run_id).fetch_history()
        yield history
        run_id = history.events[-1].workflow_execution_continued_as_new_event_attributes.new_execution_run_id


async def replay(run: WorkflowHandle | WorkflowHistory, *, heartbeat_timeout: timedelta = HEARTBEAT) -> None:
    """Replay a run's history against today's code, as a worker would; raises on any difference in order."""
    replayer = Replayer(
        workflows=[BuildWorkflow],
        data_converter=pydantic_data_converter,
        workflow_runner=workflow_runner(),
        interceptors=[FairShares(), Heartbeats(heartbeat_timeout)],
    )
    history = run if isinstance(run, WorkflowHistory) else await run.fetch_history()
    await replayer.replay_workflow(history)
