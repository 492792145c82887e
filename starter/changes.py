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
    client: Client, workflow_id: str, name: str, value: JsonValue, *, within: timedelta = PATIENCE
) -> None:
    """Send an update and wait until it is done.

    Raises UnusableRequest where the build refuses it, BuildEnded where it has ended, RPCError for no build.
    """
    handle: Handle = client.get_workflow_handle(workflow_id)
    described = await handle.describe()
    ended = described.status.name.lower() if described.status else "unknown"
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
        raise BuildEnded(f"{workflow_id} has ended ({ended}), so nothing was changed.") from None


def say_update(console: Console, workflow_id: str, name: str, value: JsonValue) -> None:
    """Print the Temporal CLI's way of doing the same."""
    words = ("--workflow-id", workflow_id, "--name", name, "--input", json.dumps(value))
    say_command(console, "workflow", "update", "execute", *words)
