"""Changes of a running build by its own updates; an update that is refused changes nothing."""

import json
from argparse import Namespace
from datetime import timedelta

from pydantic import JsonValue
from rich.console import Console
from temporalio.client import Client, WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.service import RPCError, RPCStatusCode

from starter.amounts import PLAN
from starter.attach import attach
from starter.commands import Handle, say_command
from starter.requests import UnusableRequest

PATIENCE = timedelta(seconds=30)
"""How long a build may take to answer; without a worker it never does."""


class BuildEnded(UnusableRequest):
    """The server takes no update of a build that has ended."""


async def model(given: Namespace, console: Console) -> int:
    """Change the model of a running build from its next call on."""
    client, _ = await attach()
    wanted = "" if given.model == PLAN else str(given.model)
    await change_build(client, given.id, "set_model", wanted)
    chosen = wanted or "its plan's own model"
    console.print(f"{given.id} goes on with {chosen} from its next call on", soft_wrap=True)
    say_update(console, given.id, "set_model", wanted)
    return 0


async def change_build(
    client: Client,
    workflow_id: str,
    name: str,
    value: JsonValue,
    *,
    build_id: str | None = None,
    within: timedelta = PATIENCE,
) -> None:
    """Send an update and wait until it is done; with a build id to no other build under the workflow id.

    Raises UnusableRequest where the build refuses it, BuildEnded where it has ended, RPCError for no build.
    """
    # A build's id is that of the first run of its chain, by which the server knows whom an update is for.
    handle: Handle = client.get_workflow_handle(workflow_id, first_execution_run_id=build_id)
    how_it_ended = await _how_it_ended(handle)
    try:
        await handle.execute_update(  # pyright: ignore[reportUnknownMemberType] SDK signature
            name, value, rpc_timeout=within
        )
    except WorkflowUpdateRPCTimeoutOrCancelledError:
        raise UnusableRequest(
            f"No worker took it up within {within.seconds} s. Is one running (`make up`)? "
            f"See by `python -m starter status {workflow_id}` whether it was done before you ask again."
        ) from None
    except WorkflowUpdateFailedError as error:
        raise UnusableRequest(f"The build refused it: {error.cause}. Nothing was changed.") from None
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        raise BuildEnded(f"{workflow_id} has ended ({how_it_ended}), so nothing was changed.") from None


async def _how_it_ended(handle: Handle) -> str:
    """Say how the build ended, if it has; to be asked before the update, as its refusal does not tell."""
    described = await handle.describe()
    first = described.raw_description.workflow_execution_info.first_run_id or described.run_id
    if handle.first_execution_run_id not in (None, first):
        return "another build has its workflow id now"
    return described.status.name.lower() if described.status else "unknown"


def say_update(console: Console, workflow_id: str, name: str, value: JsonValue) -> None:
    """Print the Temporal CLI's way of doing the same."""
    words = ("--workflow-id", workflow_id, "--name", name, "--input", json.dumps(value))
    say_command(console, "workflow", "update", "execute", *words)
