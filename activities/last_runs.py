"""How a build's chain of runs stands with the Temporal server that runs it. Knows no row.

A build is one chain of runs, named for the first. A server forgets a run only some days after it has closed.
"""

import logging

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowFailureError,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from workflows.errors import Outcome
from workflows.models import BuildResult, FinishBuild

ENDED_FROM_OUTSIDE = (
    "Its run was ended from outside, so it could tidy up nothing itself. "
    "Its files stand as of the last snapshot; a further build of the project goes on from there."
)
CLOSED = (
    WorkflowExecutionStatus.COMPLETED,
    WorkflowExecutionStatus.FAILED,
    WorkflowExecutionStatus.CANCELED,
    WorkflowExecutionStatus.TERMINATED,
    WorkflowExecutionStatus.CONTINUED_AS_NEW,
    WorkflowExecutionStatus.TIMED_OUT,
)

log = logging.getLogger(__name__)


async def namespace_id(client: Client) -> str:
    """Give what the server calls our namespace for good; empty where it does not say.

    Addresses and names may lead to another server one day, this never does.
    """
    try:
        found = await client.workflow_service.describe_namespace(
            DescribeNamespaceRequest(namespace=client.namespace)
        )
    except RPCError as error:
        log.warning("The namespace %r cannot be looked at: %s", client.namespace, error.message)
        return ""
    return found.namespace_info.id


async def last_run(client: Client, workflow_id: str, build_id: str) -> WorkflowExecutionDescription | None:
    """Give the newest run of a build's chain, none where the server knows no run of it."""
    newest = await _describe(client, workflow_id)
    if newest is None or build_id in (newest.run_id, _first_run(newest)):
        return newest
    # Another build took the workflow id, or the run is one of a chain that a reset began.
    own = await _describe(client, workflow_id, run_id=build_id)
    return newest if own is not None and _first_run(own) == _first_run(newest) else own


def how_closed(run: WorkflowExecutionDescription) -> str:
    """Give how a run closed, in Temporal's word; empty for whatever is not known to be closed."""
    return run.status.name if run.status is not None and run.status in CLOSED else ""


async def end_of(client: Client, run: WorkflowExecutionDescription | None, build_id: str) -> FinishBuild:
    """Give the end that a build's last run came to, as its own last words would have told it."""
    result = await _result(client, run) if run is not None else None
    if result is None:
        return FinishBuild(
            build_id=build_id,
            status="failed",
            outcome=Outcome.TERMINATED,
            message=ENDED_FROM_OUTSIDE,
            debug_id=build_id[:8],
        )
    return FinishBuild(
        build_id=build_id,
        status="ready" if result.outcome == Outcome.COMPLETED else "failed",
        workspace=result.workspace_path,
        **result.model_dump(
            include={"outcome", "message", "debug_id", "sandbox_id", "preview_url", "build_version"}
        ),
    )


async def _result(client: Client, run: WorkflowExecutionDescription) -> BuildResult | None:
    """Give what a run handed back or failed with; none where it was ended before it could."""
    handle = client.get_workflow_handle(run.id, run_id=run.run_id, result_type=BuildResult)
    try:
        return await handle.result()
    except WorkflowFailureError as error:
        if not isinstance(cause := error.cause, ApplicationError):
            return None
        return BuildResult(status="FAILED", outcome=cause.type or Outcome.API_ERROR, message=cause.message)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return None


def _first_run(run: WorkflowExecutionDescription) -> str:
    return run.raw_description.workflow_execution_info.first_run_id


async def _describe(
    client: Client, workflow_id: str, *, run_id: str | None = None
) -> WorkflowExecutionDescription | None:
    try:
        return await client.get_workflow_handle(workflow_id, run_id=run_id).describe()
    except RPCError as error:
        if error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT):
            return None
        raise
