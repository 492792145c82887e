"""A founder who speaks, pauses or stops reaches a running command at once; what it did is told exactly."""

import asyncio
from datetime import timedelta

import pytest
from temporalio.activity import ActivityCancellationDetails
from temporalio.testing import ActivityEnvironment

from workflows.turns import ToolCall, ToolRun

LONG = "echo before; echo begun > begun.txt; sleep 300; echo after > after.txt"
USE = "toolu_interrupted"


async def _begin(bench, sandbox, command: str):
    """Run a command as the workflow does; gives the activity's environment, its task and its request."""
    head = await bench.reply((USE, "bash", {"command": command}))
    call = ToolCall(tool_use_id=USE, tool="bash", label=command, changing=True)
    request = ToolRun(build_id=bench.build_id, head=head, call=call, sandbox=sandbox)
    environment = ActivityEnvironment()
    return environment, asyncio.create_task(environment.run(bench.tools.run_tool, request)), request


async def _until_begun(bench, sandbox) -> None:
    while True:
        look = f"test -s {sandbox.workspace}/begun.txt"
        if not (await bench.client.run(sandbox.sandbox_id, look, within=timedelta(seconds=20))).exit_code:
            return


async def test_a_running_command_is_killed_and_what_it_did_is_kept(bench):
    """It is ended at once; its output, its changes and the fact are the call's one result."""
    sandbox = await bench.create()
    environment, running, request = await _begin(bench, sandbox, LONG)
    await _until_begun(bench, sandbox)
    environment.cancel(cancellation_details=ActivityCancellationDetails(cancel_requested=True))
    outcome = await running
    again = await ActivityEnvironment().run(bench.tools.run_tool, request)
    result = await bench.transcript.result(request.head, USE)
    listed = await bench.client.run(
        sandbox.sandbox_id, f"ls {sandbox.workspace}; pgrep -c sleep", within=timedelta(seconds=20)
    )

    assert (True, True, 1) == (outcome.interrupted, outcome.is_error, outcome.captured)
    assert again.preview == outcome.preview
    assert "The founder interrupted" in result.body
    assert "before" in result.body
    assert "begun.txt\n0\n" == listed.stdout


async def test_a_worker_that_stops_leaves_the_command_to_the_next(bench):
    """A cancel that nobody asked for kills no command: the next attempt waits for it and gets its answer."""
    sandbox = await bench.create()
    command = "echo begun > begun.txt; until test -e go; do sleep 0.05; done; echo once >> ran.txt"
    environment, running, request = await _begin(bench, sandbox, command)
    await _until_begun(bench, sandbox)
    environment.cancel(cancellation_details=ActivityCancellationDetails(worker_shutdown=True))
    with pytest.raises(asyncio.CancelledError):
        await running
    await bench.client.run(sandbox.sandbox_id, f"touch {sandbox.workspace}/go", within=timedelta(seconds=20))
    outcome = await ActivityEnvironment().run(bench.tools.run_tool, request)
    ran = await bench.client.read(sandbox.sandbox_id, f"{sandbox.workspace}/ran.txt")

    assert (False, False) == (outcome.is_error, outcome.interrupted)
    assert b"once\n" == ran
