"""Serving the app of a finished build again: whatever became of its sandbox, and what that costs."""

import httpx2
import pytest
from sqlalchemy import update

from activities.heartbeat import heartbeating
from activities.previews import GONE, Previews
from activities.settings import Settings
from activities.tables import builds
from tests.contract.conftest import Bench
from tests.contract.test_sandbox_faults import set_fault
from tests.contract.test_sandbox_time import SLACK, asked, at, cost, running
from workflows.files import ProofReport, SandboxRef, ServePreview

START = "exec python3 -m http.server $PORT --bind 127.0.0.1"
PAUSED, LATER, EXPIRED = 300, 10_000, 99_999
"""Seconds after the creation: when it was paused, is served, and any session is over."""


async def ready(paid: Bench) -> SandboxRef:
    """Give the sandbox of a build that has ended as READY."""
    sandbox = await at(0, paid.sandboxes.create_sandbox, asked(paid))
    await paid.client.write(sandbox.sandbox_id, f"{sandbox.workspace}/index.html", b"the app")
    values = {"status": "ready", "sandbox_id": sandbox.sandbox_id, "plan": {"start": START}}
    async with paid.engine.begin() as connection:
        await connection.execute(update(builds).filter_by(id=paid.build_id).values(values))
    return sandbox


async def asleep(paid: Bench) -> SandboxRef:
    """Give one that was paused after that."""
    sandbox = await ready(paid)
    await at(PAUSED, paid.sandboxes.pause_sandbox, paid.step(sandbox))
    return sandbox


async def serve(paid: Bench, seconds: int, *, attempt: int = 1) -> ProofReport:
    previews = Previews(paid.engine, paid.workspace, paid.rows, checks=paid.checks, sandboxes=paid.sandboxes)
    request = ServePreview(workflow_id=paid.build_id)
    return await at(seconds, previews.serve_preview, request, attempt=attempt)


async def expire(paid: Bench) -> None:
    """Let the janitor book what nobody ended."""

    async def end() -> None:
        async with heartbeating():
            await paid.sandboxes._time.end_expired()

    await at(EXPIRED, end)


async def shown(report: ProofReport) -> str:
    async with httpx2.AsyncClient(trust_env=False) as client:
        return (await client.get(report.preview_url)).text


async def test_a_running_sandbox_serves_its_app_anew(paid: Bench):
    """Twice, too: the app that ran is stopped first. The sandbox is paid on without a gap."""
    sandbox = await ready(paid)
    first, second = await serve(paid, 100), await serve(paid, 200)
    text = await shown(second)
    await at(260, paid.sandboxes.kill_sandbox, paid.step(sandbox))

    assert (True, True) == (first.passed, second.passed), second.report
    assert "the app" == text
    assert 260 <= await cost(paid) < 260 + SLACK


async def test_a_paused_sandbox_is_resumed_and_paid_from_then(paid: Bench):
    """To the end of its session, as nobody pauses it before."""
    await asleep(paid)
    report = await serve(paid, LATER)
    text = await shown(report)
    await expire(paid)

    assert report.passed, report.report
    assert "the app" == text
    assert PAUSED + 3_600 <= await cost(paid) < PAUSED + 3_600 + 2 * SLACK
    assert 0 == await running(paid)


@pytest.mark.parametrize("attempt", [1, 2])
async def test_a_sandbox_that_is_gone_is_told_and_costs_nothing(paid: Bench, attempt: int):
    """Also where the worker was killed after it had noted that the sandbox is to run."""
    sandbox = await asleep(paid)
    await paid.client.kill(sandbox.sandbox_id)
    before = await cost(paid)
    if attempt > 1:
        await died_before_the_resume(paid, sandbox)
    report = await serve(paid, LATER + 30, attempt=attempt)
    held = await running(paid)
    await expire(paid)

    assert (False, GONE) == (report.passed, report.summary)
    assert 0 == held
    assert before == await cost(paid)


async def died_before_the_resume(paid: Bench, sandbox: SandboxRef) -> None:
    """Leave what an attempt leaves that is killed just before it asks the provider."""
    row = await paid.rows.find(paid.build_id, sandbox.sandbox_id)
    assert row is not None

    async def begin() -> None:
        async with heartbeating():
            await paid.sandboxes._time.begin(row, anew=True)

    await at(LATER, begin)


async def test_what_a_killed_attempt_noted_is_not_paid(paid: Bench):
    """The next one finds the sandbox asleep, so it is paid from its own resume."""
    sandbox = await asleep(paid)
    await died_before_the_resume(paid, sandbox)
    report = await serve(paid, LATER + 1_000, attempt=2)
    await at(LATER + 1_100, paid.sandboxes.kill_sandbox, paid.step(sandbox))

    assert report.passed, report.report
    assert PAUSED + 100 <= await cost(paid) < PAUSED + 100 + 2 * SLACK


async def test_another_sandbox_is_not_served(paid: Bench, settings: Settings):
    """What the provider answers with in its place is killed at once, and neither is paid."""
    sandbox = await asleep(paid)
    await set_fault(settings, kind="other_id", sandbox=sandbox.sandbox_id)
    before = await cost(paid)
    report = await serve(paid, LATER)
    left = [one.sandbox_id for one in await paid.client.all({"build": paid.build_id})]
    await expire(paid)

    assert (False, GONE) == (report.passed, report.summary)
    assert [sandbox.sandbox_id] == left
    assert before == await cost(paid)


async def test_a_sandbox_that_dies_while_it_is_served_is_paid_until_then(paid: Bench, settings: Settings):
    """Not to the end of its session."""
    sandbox = await asleep(paid)
    await set_fault(settings, kind="killed", sandbox=sandbox.sandbox_id, path="/process.Process")
    report = await serve(paid, LATER)
    await expire(paid)

    assert (False, GONE) == (report.passed, report.summary)
    assert PAUSED <= await cost(paid) < PAUSED + 2 * SLACK


async def test_nothing_is_resumed_for_a_build_that_is_not_ready_or_was_swept(paid: Bench):
    """Each is told; a sandbox that is to be killed is not brought back."""
    unknown = await serve(paid, 0)
    sandbox = await asleep(paid)
    row = await paid.rows.find(paid.build_id, sandbox.sandbox_id)
    assert row is not None
    await paid.rows.note(row, state="doomed")
    doomed = await serve(paid, LATER)

    assert f"{paid.build_id} has no READY build." == unknown.summary
    assert (False, GONE) == (doomed.passed, doomed.summary)
    assert not await paid.client.is_running(sandbox.sandbox_id)
