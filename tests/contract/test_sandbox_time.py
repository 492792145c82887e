"""What the steps of a sandbox's life book, on the real database and the sandbox server."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from temporalio.testing import ActivityEnvironment

from activities.heartbeat import heartbeating
from activities.money_tables import AHEAD, SANDBOX, ledger
from activities.tables import sandboxes
from tests.contract.conftest import Bench
from workflows.files import CreateSandbox, ProofStep

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
SLACK = 20
"""Seconds that the steps themselves may take in a test."""


async def at(seconds: int, method: Any, *request: object, attempt: int = 1) -> Any:
    """Run an activity that the server starts so much after noon."""
    environment = ActivityEnvironment()
    started = NOON + timedelta(seconds=seconds)
    environment.info = replace(
        environment.info, started_time=started, scheduled_time=started, attempt=attempt
    )
    return await environment.run(method, *request)


async def cost(bench: Bench) -> int:
    """What sandbox time came to, microdollars: here, seconds."""
    query = select(func.coalesce(func.sum(ledger.c.cost), 0)).filter_by(build_id=bench.build_id, kind=SANDBOX)
    async with bench.engine.connect() as connection:
        return int((await connection.execute(query)).scalar_one())


async def running(bench: Bench) -> int:
    """How many of the build's sandboxes are being paid."""
    query = select(func.count()).where(
        sandboxes.c.build_id == bench.build_id, sandboxes.c.billed_until.is_not(None)
    )
    async with bench.engine.connect() as connection:
        return (await connection.execute(query)).scalar_one()


async def ahead(bench: Bench) -> int:
    query = select(func.coalesce(func.sum(ledger.c.reserved), 0)).filter_by(
        build_id=bench.build_id, kind=AHEAD, state="reserved"
    )
    async with bench.engine.connect() as connection:
        return int((await connection.execute(query)).scalar_one())


def asked(bench: Bench, generation: int = 1, role: str = "build") -> CreateSandbox:
    return CreateSandbox.model_validate({"build_id": bench.build_id, "generation": generation, "role": role})


async def test_a_sandbox_is_paid_while_it_runs(paid: Bench):
    """From its creation to the pause, from the resume to the kill; its sleep of a day costs nothing."""
    sandbox = await at(0, paid.sandboxes.create_sandbox, asked(paid))
    await at(300, paid.sandboxes.pause_sandbox, paid.step(sandbox))
    asleep = await cost(paid), await running(paid), await ahead(paid)
    connected = await at(86_700, paid.sandboxes.connect_sandbox, paid.step(sandbox))
    awake = await running(paid), await ahead(paid)
    await at(86_800, paid.sandboxes.kill_sandbox, paid.step(sandbox))
    await at(99_999, paid.sandboxes.kill_sandbox, paid.step(sandbox), attempt=2)

    assert connected.intact
    assert 300 <= asleep[0] < 300 + SLACK
    assert asleep[1:] == (0, 0)
    assert awake == (1, 1_800)
    assert 100 <= await cost(paid) - asleep[0] < 100 + SLACK
    assert (0, 0) == (await running(paid), await ahead(paid))


async def test_a_sandbox_that_is_lost_in_its_sleep_costs_nothing(paid: Bench):
    """It was paid to its pause; that it was to run again is forgotten when it turns out to be gone."""
    sandbox = await at(0, paid.sandboxes.create_sandbox, asked(paid))
    await at(300, paid.sandboxes.pause_sandbox, paid.step(sandbox))
    asleep = await cost(paid)
    await paid.client.kill(sandbox.sandbox_id)
    connected = await at(86_700, paid.sandboxes.connect_sandbox, paid.step(sandbox))
    held = await running(paid), await ahead(paid)
    await at(90_000, paid.sandboxes.kill_sandbox, paid.step(sandbox))

    assert not connected.intact
    assert (0, 0) == held
    assert asleep == await cost(paid)


async def test_a_retry_pays_from_the_first_attempt(paid: Bench):
    """A creation that answered nobody, a pause that did: the time between attempts is paid once."""
    await at(0, paid.sandboxes.create_sandbox, asked(paid))
    sandbox = await at(30, paid.sandboxes.create_sandbox, asked(paid), attempt=2)
    await at(100, paid.sandboxes.pause_sandbox, paid.step(sandbox))
    once = await cost(paid)
    await at(500, paid.sandboxes.pause_sandbox, paid.step(sandbox), attempt=2)

    assert 100 <= once == await cost(paid) < 100 + SLACK


async def test_a_proof_is_paid_and_set_aside(paid: Bench):
    """Each of its steps books the one before and sets aside for itself."""
    sandbox = await at(0, paid.sandboxes.create_sandbox, asked(paid, role="check"))
    step = ProofStep(build_id=paid.build_id, sandbox=sandbox, attempt=1)
    await at(200, paid.checks.install_dependencies, step)
    booked, held = await cost(paid), await ahead(paid)
    await at(260, paid.sandboxes.kill_sandbox, paid.step(sandbox))

    assert 200 <= booked < 200 + SLACK
    assert 1_800 == held
    assert 260 <= await cost(paid) < 260 + SLACK


async def test_the_janitor_books_up_to_the_kill(paid: Bench):
    """What a terminated build left running is paid until it is killed, and no second longer."""
    await at(0, paid.sandboxes.create_sandbox, asked(paid))

    async def clear() -> None:
        async with heartbeating():
            assert 1 == await paid.sandboxes.kill_of(paid.build_id)

    await at(900, clear)

    assert 900 <= await cost(paid) < 900 + SLACK
    assert (0, 0) == (await running(paid), await ahead(paid))


async def test_a_newer_generation_ends_the_older(paid: Bench):
    """A sandbox that was replaced is paid to its kill, the new one from its creation."""
    await at(0, paid.sandboxes.create_sandbox, asked(paid))
    newer = await at(100, paid.sandboxes.create_sandbox, asked(paid, 2))
    both = await running(paid)
    await at(150, paid.sandboxes.kill_sandbox, paid.step(newer))

    assert 1 == both
    assert 150 <= await cost(paid) < 150 + 2 * SLACK
