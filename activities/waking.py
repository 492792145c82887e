"""Wakes builds that run, so that they look at the money, the switch or the user again. Knows no row."""

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

RUNNING = "WorkflowType = 'BuildWorkflow' AND ExecutionStatus = 'Running'"


async def wake_builds(client: Client, *, user: str | None = None, but: str = "") -> int:
    """Signal `wake` to each running build, or to those of one user; gives how many there were."""
    woken = 0
    async for found in client.list_workflows(running_builds(user)):
        woken += found.id != but and await _wake(client, found.id)
    return woken


def running_builds(user: str | None) -> str:
    """The list filter of running builds, or of those of one user."""
    if user is None:
        return RUNNING
    quoted = user.replace("\\", "\\\\").replace("'", "''")
    return f"{RUNNING} AND BuildUser = '{quoted}'"


async def _wake(client: Client, workflow_id: str) -> bool:
    try:
        await client.get_workflow_handle(workflow_id).signal("wake")
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:  # it has ended since
            raise
        return False
    return True
