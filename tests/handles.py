"""What tests ask of a build that runs: how it ended, and when it shows a status."""

import asyncio

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError, CancelledError

from workflows.models import BuildResult, BuildStatus

TASKS = (
    "activity_task_scheduled",
    "activity_task_completed",
    "workflow_task_scheduled",
    "workflow_task_completed",
)
HANGS = 60
"""Seconds after which a build that should have ended is said to hang."""


async def ready(handle: WorkflowHandle) -> BuildResult:
    """The result of a build that ends as READY."""
    result = BuildResult.model_validate(await asyncio.wait_for(handle.result(), HANGS))
    assert "READY" == result.status
    return result


async def failure(handle: WorkflowHandle) -> ApplicationError:
    """The typed failure of a build that ends as FAILED."""
    with pytest.raises(WorkflowFailureError) as caught:
        await asyncio.wait_for(handle.result(), HANGS)
    assert isinstance(caught.value.cause, ApplicationError)
    return caught.value.cause


async def cancelled(handle: WorkflowHandle) -> None:
    """Wait until a build has ended as cancelled, and not as failed."""
    with pytest.raises(WorkflowFailureError) as caught:
        await asyncio.wait_for(handle.result(), HANGS)
    assert isinstance(caught.value.cause, CancelledError)


async def until(handle: WorkflowHandle, status: str) -> BuildStatus:
    """Wait until the build shows a status; queries run on the worker, so each one is a turn of the loop."""
    while True:
        found = await handle.query("status", result_type=BuildStatus)
        if found.status == status:
            return found


async def until_event(handle: WorkflowHandle, name: str) -> None:
    """Wait until the history holds an event, e.g. `activity_task_cancel_requested`."""
    while True:
        history = await handle.fetch_history()
        if any(event.HasField(f"{name}_event_attributes") for event in history.events):
            return


async def until_alone(handle: WorkflowHandle) -> None:
    """Wait until one activity is under way and no other: the server refuses to cancel one that just ended."""
    while True:
        kinds = [event.WhichOneof("attributes") for event in (await handle.fetch_history()).events]
        counts = [kinds.count(f"{name}_event_attributes") for name in TASKS]
        if counts[0] - counts[1] == 1 and counts[2] == counts[3]:
            return
