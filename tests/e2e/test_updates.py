"""What the command line says of an update that no worker answers."""

from datetime import timedelta

import pytest

from starter.changes import change_build
from starter.requests import UnusableRequest


async def test_an_update_without_a_worker_ends_with_a_word(everything):
    """Instead of a command that hangs."""
    handle = await everything.client.start_workflow(
        "BuildWorkflow", {"idea": "x"}, id="unworked", task_queue="nobody-works-here"
    )
    with pytest.raises(UnusableRequest, match="No worker took it up within 1 s"):
        await change_build(everything.client, handle.id, "add_budget", 1, within=timedelta(seconds=1))
    await handle.terminate()
