"""How long sandboxes live and how many there may be: our adapters against a server with tight limits."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from e2b import AsyncSandbox
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.runner_archive import archive
from activities.sandbox import Sandboxes
from activities.sandbox_client import SandboxClient
from activities.sandbox_time import SandboxTime
from activities.settings import Settings
from activities.workspace import Workspace
from tests.contract.conftest import Bench, tools_of
from tests.sandbox_server import KEY, SandboxServer, sandbox_server
from workflows.errors import FailureType
from workflows.files import SandboxRef

LONGEST_RUN = timedelta(seconds=1800)
LATE = 1800 - 235
"""Seconds after which a command of 120 s and its capture may just not end before the run does."""


@pytest.fixture(scope="module")
async def tight_server() -> AsyncIterator[SandboxServer]:
    """A server that ends runs early and lets one sandbox be made a second, three run at once."""
    limits = ("--longest-run", "1800", "--creations", "1", "--at-once", "3")
    async with sandbox_server(options=limits) as started:
        yield started


@pytest.fixture
async def tight(bench: Bench, settings: Settings, tight_server: SandboxServer) -> AsyncIterator[Bench]:
    """The bench with its sandboxes on that server."""
    near = settings.model_copy(
        update={
            "e2b_api_url": tight_server.url,
            "e2b_sandbox_url": tight_server.url,
            "e2b_api_key": type(settings.e2b_api_key)(KEY),
            "sandbox_timeout_seconds": 600,
            "sandbox_longest_run_seconds": 1800,
        }
    )
    workspace = Workspace(SandboxClient(near), runner=archive()[1])
    made = replace(bench, client=workspace.client, workspace=workspace)
    time = SandboxTime(bench.engine, near)
    sandboxes = Sandboxes(workspace, bench.rows, bench.restorer, time=time, settings=near)
    yield replace(made, tools=tools_of(made), sandboxes=sandboxes)
    for row in await bench.rows.of_build(bench.build_id):
        await workspace.client.kill(row.sandbox_id)


async def created(tight: Bench, generation: int = 1) -> SandboxRef:
    """Create as Temporal does: asked again when the provider says later."""
    while True:
        try:
            return await tight.create(generation)
        except ApplicationError as error:
            if error.type != FailureType.RETRYABLE:
                raise


async def pause_and_connect(tight: Bench, sandbox: SandboxRef) -> SandboxRef:
    step = tight.step(sandbox)
    await ActivityEnvironment().run(tight.sandboxes.pause_sandbox, step)
    found = await ActivityEnvironment().run(tight.sandboxes.connect_sandbox, step)
    assert found.intact
    return sandbox.model_copy(update={"run_ends": found.run_ends})


async def test_a_command_that_could_not_end_before_the_run_does_is_not_begun(
    tight: Bench, tight_server: SandboxServer
):
    """The model is told so and how to go on; a shorter one runs, and after pause and connect so does it."""
    sandbox = await created(tight)
    await tight_server.fault(kind="aged", sandbox=sandbox.sandbox_id, seconds=LATE)
    near = replace(tight, client=SandboxClient(tight.client._settings))
    near = replace(near, workspace=Workspace(near.client, runner=archive()[1]))
    tight = replace(near, tools=tools_of(near), sandboxes=tight.sandboxes)
    long = {"command": "echo long >> ran", "timeout_seconds": 120}
    refused = await tight.use(sandbox, "bash", long)
    short = await tight.use(sandbox, "bash", {"command": "echo short >> ran", "timeout_seconds": 30})

    resumed = await pause_and_connect(tight, sandbox)
    again = await tight.use(resumed, "bash", long)

    assert refused.is_error
    assert "Not begun" in refused.preview
    assert "in your next turn" in refused.preview
    assert (False, False) == (short.is_error, again.is_error)
    assert (await tight.bash(resumed, "cat ran")).preview.split() == ["short", "long"]


async def test_a_command_may_take_longer_than_a_session(tight: Bench):
    """The session is lengthened for it; only the end of the run, which nothing moves, stands in its way."""
    sandbox = await created(tight)
    outcome = await tight.bash(sandbox, "echo ran", seconds=600)

    assert "ran" == outcome.preview.strip()


async def test_a_run_ends_when_the_setting_says_and_anew_after_a_pause(tight: Bench):
    """Create, its retry and connect tell when the run ends; a retried create tells the same."""
    before = datetime.now(UTC)
    sandbox = await created(tight)
    again = await created(tight)
    resumed = await pause_and_connect(tight, sandbox)

    assert sandbox == again
    assert sandbox.run_ends is not None
    assert before + LONGEST_RUN <= sandbox.run_ends <= datetime.now(UTC) + LONGEST_RUN
    assert resumed.run_ends is not None
    assert resumed.run_ends > sandbox.run_ends


async def test_working_only_lengthens(tight: Bench):
    """What is asked of a sandbox never brings its end nearer, and never past the longest run."""
    sandbox = await created(tight)
    api = {"api_key": KEY, "api_url": tight.client._settings.e2b_api_url}
    await AsyncSandbox.set_timeout(sandbox.sandbox_id, 1000, **api)
    before = (await AsyncSandbox.get_info(sandbox.sandbox_id, **api)).end_at

    await SandboxClient(tight.client._settings).run(sandbox.sandbox_id, "true", within=timedelta(seconds=1))
    after = await AsyncSandbox.get_info(sandbox.sandbox_id, **api)
    await tight.client.run(sandbox.sandbox_id, "true", within=timedelta(seconds=1500))
    last = await AsyncSandbox.get_info(sandbox.sandbox_id, **api)

    assert before == after.end_at
    assert last.end_at == last.started_at + LONGEST_RUN
    assert after.lifecycle is not None
    assert ("pause", False) == (after.lifecycle["on_timeout"], after.lifecycle["auto_resume"])


async def test_too_many_sandboxes_are_waited_for(tight: Bench):
    """Beyond the account's rate, and beyond its number at once, a creation is asked again with a word."""
    made: list[str] = []
    words: list[str] = []
    async with asyncio.timeout(30):
        while not any("concurrent" in word for word in words):
            several = [tight.client.create(f"nightshift-{len(made)}-{n}", metadata={}) for n in range(2)]
            for one in await asyncio.gather(*several, return_exceptions=True):
                if isinstance(one, str):
                    made.append(one)
                else:
                    assert isinstance(one, ApplicationError)
                    assert one.type == FailureType.RETRYABLE
                    words.append(one.message)
    for sandbox_id in made:
        await tight.client.kill(sandbox_id)

    assert any("1 creations a second" in word for word in words)
    assert any("maximum number of concurrent sandboxes (3)" in word for word in words)
    assert 3 == len(made)


async def test_a_timeout_beyond_the_account_names_the_settings(tight: Bench):
    """A sandbox that would live longer than the account allows is refused for good, with the fix."""
    wrong = {"sandbox_timeout_seconds": 3000, "sandbox_longest_run_seconds": 3600}
    client = SandboxClient(tight.client._settings.model_copy(update=wrong))

    with pytest.raises(ApplicationError) as caught:
        await client.create("nightshift-long", metadata={})

    assert caught.value.non_retryable
    assert "SANDBOX_TIMEOUT_SECONDS" in caught.value.message
