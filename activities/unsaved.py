"""Why files could not be saved or read back, said so that the workflow can tell of it. Owns the texts."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.failures import classify
from activities.workspace import RunnerFault
from workflows.errors import FailureType
from workflows.files import CreateSandbox, TakeSnapshot

DISK_FULL: Final = (
    "The sandbox's disk is full: nothing new is saved, and what is not saved is gone if the sandbox is lost. "
    "Find what is large (du -xah ~ | sort -h | tail) and delete what you do not need with rm."
)
REPLACED: Final = (
    "In the place of the workspace there is a link or a file: nothing new is saved, and what is not saved is "
    "gone if the sandbox is lost. Remove it, but not what it leads to, then move the folder itself there: "
    "rm {workspace} && mv FOLDER {workspace}"
)
TOLD_AFTER: Final = timedelta(minutes=1)
"""How long it is tried before people are told that it cannot be done."""
_SAVING: Final = (
    "The files wait in the sandbox; nothing new is run until they are saved. A `stop` or cancel waits, too; "
    "`temporal workflow terminate` does not, and gives up what came after the last restore point."
)
_RESTORING: Final = "The files are safe at their last restore point; nothing is run until they can be read."


@asynccontextmanager
async def telling(request: TakeSnapshot | CreateSandbox) -> AsyncGenerator[None]:
    """Turn what only the model can mend, and an outage that lasts, into failures that are told."""
    try:
        yield
    except Exception as error:
        if unsavable := _unsavable(error, request):
            raise unsavable from None
        failure, info = classify(error), activity.info()
        if failure.non_retryable or not request.tell_outage:
            raise
        if info.started_time - info.scheduled_time < TOLD_AFTER:
            raise
        saves = isinstance(request, TakeSnapshot)
        kind = FailureType.UNSAVED if saves else FailureType.UNRESTORED
        text = f"{failure.message} {_SAVING if saves else _RESTORING}"
        raise ApplicationError(text, type=kind, non_retryable=True) from None


def _unsavable(error: Exception, request: TakeSnapshot | CreateSandbox) -> ApplicationError | None:
    """Word what stays so until a call of the model mends it."""
    kind = error.kind if isinstance(error, RunnerFault) else ""
    if kind == "disk_full":
        return ApplicationError(DISK_FULL, type=FailureType.DISK_FULL, non_retryable=True)
    if kind == "workspace_replaced" and isinstance(request, TakeSnapshot):
        text = REPLACED.format(workspace=request.sandbox.workspace)
        return ApplicationError(text, type=FailureType.WORKSPACE_REPLACED, non_retryable=True)
    return None


def untrusted(reason: str) -> ApplicationError:
    """Refuse what came out of a sandbox that cannot be believed; the last restore point stands."""
    return ApplicationError(
        f"The snapshot's manifest is not to be trusted: {reason} The build is restored from its last one.",
        type=FailureType.SANDBOX_LOST,
        non_retryable=True,
    )
