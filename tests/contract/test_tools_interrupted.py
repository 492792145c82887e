"""A founder who speaks, pauses or stops reaches a running command at once; what it did is told exactly."""

import asyncio
from datetime import timedelta

import pytest
from temporalio.activity import ActivityCancellationDetails
from temporalio.testing import ActivityEnvironment

from activities.screenshots import find_browser
from workflows import guard
from workflows.catalogue import is_changing
from workflows.turns import ToolCall, ToolRun

HANGING = """mkdir -p ~/bin && cat > ~/bin/python3 << 'END'
#!/bin/sh
case "$*" in *read_file*|*grep*|*glob*|*screenshot*) echo begun > ~/workspace/begun.txt; exec sleep 300;; esac
exec /usr/bin/env -S PATH=/usr/local/bin:/usr/bin:/bin:/opt/nightshift/bin python3 "$@"
END
chmod +x ~/bin/python3; echo 'PATH=~/bin:$PATH' > ~/.profile"""
"""Has the runner hang for whatever only looks."""
LONG = "echo before; echo begun > begun.txt; sleep 300; echo after > after.txt"
USE = "toolu_interrupted"


async def _begin(bench, sandbox, command: str):
    """Run a command as the workflow does; gives the activity's environment, its task and its request."""
    return await _begin_tool(bench, sandbox, "bash", {"command": command})


async def _begin_tool(bench, sandbox, tool: str, given: dict):
    head = await bench.reply((USE, tool, given))
    call = ToolCall(tool_use_id=USE, tool=tool, label=tool, changing=is_changing(tool))
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
    assert again == outcome
    assert "The founder interrupted" in result.body
    assert "before" in result.body
    assert "begun.txt\n0\n" == listed.stdout


@pytest.mark.parametrize(
    ("tool", "given"),
    [
        ("read_file", {"path": "a"}),
        ("grep", {"pattern": "a"}),
        ("glob", {"pattern": "*"}),
        ("take_screenshot", {}),
    ],
)
async def test_a_call_that_only_looks_is_dropped_at_once(bench, tool, given):
    """A search or a look that hangs ends within two seconds of the word, with its one error result."""
    sandbox = await bench.create()
    await bench.bash(sandbox, HANGING)
    environment, running, request = await _begin_tool(bench, sandbox, tool, given)
    await _until_begun(bench, sandbox)
    async with asyncio.timeout(2):
        environment.cancel(cancellation_details=ActivityCancellationDetails(cancel_requested=True))
        outcome = await running
    result = await bench.transcript.result(request.head, USE)

    assert (True, True) == (outcome.interrupted, outcome.is_error)
    assert "The founder interrupted" in result.body


@pytest.mark.skipif(find_browser() is None, reason="no Chromium on this machine")
async def test_a_page_that_never_loads_in_the_workers_browser_is_left_at_once(bench):
    """A look from outside ends within two seconds, too."""
    asked = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        looking = asyncio.create_task(bench.tools._screenshots._look_from_outside(url, ""))
        await asked.wait()
        looking.cancel()
        _, pending = await asyncio.wait({looking}, timeout=2)

    assert not pending


async def _left_by_its_worker(bench, sandbox, command: str) -> ToolRun:
    """Begin a command by a worker that stops meanwhile; gives what it was asked."""
    environment, running, request = await _begin(bench, sandbox, command)
    await _until_begun(bench, sandbox)
    environment.cancel(cancellation_details=ActivityCancellationDetails(worker_shutdown=True))
    with pytest.raises(asyncio.CancelledError):
        await running
    return request


async def test_a_worker_that_stops_leaves_the_command_to_the_next(bench):
    """A cancel that nobody asked for kills no command: the next attempt waits for it and gets its answer."""
    sandbox = await bench.create()
    command = "echo begun > begun.txt; until test -e go; do sleep 0.05; done; echo once >> ran.txt"
    request = await _left_by_its_worker(bench, sandbox, command)
    await bench.client.run(sandbox.sandbox_id, f"touch {sandbox.workspace}/go", within=timedelta(seconds=20))
    outcome = await ActivityEnvironment().run(bench.tools.run_tool, request)
    ran = await bench.client.read(sandbox.sandbox_id, f"{sandbox.workspace}/ran.txt")

    assert (False, False) == (outcome.is_error, outcome.interrupted)
    assert b"once\n" == ran


async def test_a_refusal_ends_the_command_that_a_dead_worker_left(bench):
    """What is answered as cut short does not go on: nothing changes the files behind that answer."""
    sandbox = await bench.create()
    request = await _left_by_its_worker(bench, sandbox, LONG)
    refused = request.model_copy(update={"refuse": guard.CUT_SHORT})
    outcome = await ActivityEnvironment().run(bench.tools.run_tool, refused)
    left = await bench.client.run(sandbox.sandbox_id, "pgrep -c sleep", within=timedelta(seconds=20))

    assert (True, "0\n") == (outcome.is_error, left.stdout)


async def test_a_refusal_of_a_call_that_began_in_a_lost_sandbox_does_not_deny_it(bench):
    """It is said to be interrupted, not never to have run."""
    sandbox = await bench.create()
    request = await _left_by_its_worker(bench, sandbox, LONG)
    fresh = await bench.create(generation=2)
    refused = request.model_copy(update={"refuse": guard.INTERRUPTED, "sandbox": fresh})
    outcome = await ActivityEnvironment().run(bench.tools.run_tool, refused)

    assert outcome.interrupted
    assert "may or may not have taken effect" in outcome.preview
