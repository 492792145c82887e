"""The commands of admins, against a running stack."""

import asyncio
import json
import math

import pytest
from sqlalchemy import text
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError

from activities.quotes import FEWEST
from activities.waking import running_builds
from starter.commands import start_build
from workflows.models import BuildResult

USER = "o'brien"


@pytest.mark.usefixtures("worker")
async def test_an_admin_changes_a_user_and_wakes_their_builds(everything):
    """Each edit is shown and wakes the user's running builds; a refused one changes nothing; so is money."""
    code, made = await everything.starter("admin", "tier", USER, "partner")
    assert (0, True) == (code, "plan partner" in made), made
    handle = await everything.client.start_workflow(
        "BuildWorkflow", {"idea": "x", "user": USER}, id="o-1", task_queue="builds", start_signal="pause"
    )
    await _until_listed(everything)
    refused = [
        await everything.starter("admin", *words)
        for words in (
            ("tier", USER, "gold"),
            ("budget", USER, "-1"),
            ("renews", USER, "2020-01-01"),
            ("timezone", USER, "Mars"),
            ("show", "nobody"),
        )
    ]
    code, raised = await everything.starter("admin", "budget", USER, "240.000001")
    added = await everything.starter("add", "o-1", "0.5")
    by_user = await everything.starter("add", USER, "0.25")
    model = await everything.starter("model", "o-1", "claude-opus-5-5")
    retired = await everything.starter("model", "o-1", "claude-2")
    used = (await handle.query("status"))["model"]
    unknown = await everything.starter("add", "nobody", "5")
    await handle.terminate()
    late = [await everything.starter(*words) for words in (("add", "o-1", "5"), ("model", "o-1", "plan"))]

    assert [1] * 5 == [one for one, _ in refused], refused
    words = ("bootstrapper, partner, cto_scale", "below zero", "is past", "no time zone", "no user")
    assert [True] * 5 == [word in output for word, (_, output) in zip(words, refused, strict=True)], refused
    assert (0, True, True) == (code, "budget $240.000001" in raised, "woke 1 running" in raised), raised
    assert (0, True) == (added[0], "added $0.50" in added[1]), added
    assert (0, True) == (by_user[0], "woke 1 running" in by_user[1]), by_user
    assert (1, True) == (unknown[0], "neither a build nor a user" in unknown[1]), unknown
    assert (0, True) == (model[0], "update execute --workflow-id o-1 --name set_model" in model[1]), model
    assert (1, True) == (retired[0], "Choose one of: claude-haiku-5-5" in retired[1]), retired
    assert "claude-opus-5-5" == used
    assert [(1, True)] * 2 == [(code, "has ended (terminated)" in told) for code, told in late], late
    outputs = (*refused, added, by_user, model, retired, unknown, *late)
    assert not any("Traceback" in output for _, output in outputs)
    assert WorkflowExecutionStatus.TERMINATED == (await handle.describe()).status


PARKED = "SELECT count(*) FROM builds WHERE id = :b AND status = 'switched_off'"
POINTS = "SELECT count(*) FROM restore_points WHERE build_id = :b"
SPENT = "SELECT sum(cost) FROM ledger WHERE build_id = :b"
PAST = """
    SELECT sum(cost) AS spent FROM ledger l JOIN builds b ON b.id = l.build_id
    WHERE b.status = 'ready' AND :b <> '' GROUP BY b.id ORDER BY spent
"""


@pytest.mark.usefixtures("worker")
async def test_the_switch_parks_running_builds_and_lets_them_go_on(everything, model_control, database):
    """A call under way is finished, files are saved; switched on again it goes on at once, without a wake.

    A parked build looks by itself only after five minutes. Its receipt is the ledger to the microdollar, and
    it is history for a quote.
    """
    few = await _numbers(database, PAST)
    early = await everything.starter("quote", "--idea", "x")
    await model_control.post("/_control/hold", json={"after_events": 3, "after": 1})
    request = {"idea": "[[script:long turns=3]]", "project": "switched"}
    handle = await start_build(everything.client, request, "switched")
    try:
        await _until(lambda: _is_held(model_control))
        off = await everything.starter("switch", "off")
        await model_control.post("/_control/release", json={})
        await _until(lambda: _any(database, PARKED, _id(handle)))
        saved = await _numbers(database, POINTS, _id(handle))
        refused = await _refusal(everything)
        steps = await handle.query("timeline")
    finally:
        on = await everything.starter("switch", "on")
    async with asyncio.timeout(60):
        result = BuildResult.model_validate(await handle.result())

    assert (0, True) == (off[0], "running ones park" in off[1]), off
    assert (0, True) == (on[0], "running builds" in on[1]), on
    assert any("SWITCHED_OFF" in step["text"] for step in steps), steps
    assert saved[0] >= 1
    assert "AgentDisabled" == refused
    assert "READY" == result.status
    assert (0, len(few) < FEWEST) == (early[0], "no history yet" in early[1]), early
    await _check_receipt(everything, database, handle, result)
    await _check_quote(everything, database)


async def _check_receipt(everything, database, handle, result) -> None:
    """As printed, as JSON, as the build itself tells it, and as the ledger has it."""
    _, told = await everything.starter("receipt", "switched")
    code, given = await everything.starter("receipt", _id(handle), "--json")
    (spent,) = await _numbers(database, SPENT, _id(handle))
    so_far = await handle.query("receipt")

    assert 0 == code, given
    assert spent == json.loads(given)["spent_microdollars"] == result.spent_microdollars
    assert spent == so_far["spent_microdollars"] == sum(so_far["by_phase"].values())
    assert f"switched: READY, spent ${spent / 1_000_000:.6f}" in told
    assert "workflow query --workflow-id switched --type receipt" in told
    assert (1, True) == await _is_told(everything, ("receipt", "nobody"), "No build 'nobody' is known")


async def _check_quote(everything, database) -> None:
    """Once enough builds ended READY: the middle of what they came to, and what nine in ten stayed within."""
    names = [f"quoted-{n}" for n in range(FEWEST - len(await _numbers(database, PAST)))]
    request = {"idea": "[[script:long turns=1]]"}
    handles = [await start_build(everything.client, request | {"project": name}, name) for name in names]
    await asyncio.gather(*(handle.result() for handle in handles))
    past = await _numbers(database, PAST)
    code, given = await everything.starter("quote", "--idea", "x", "--json")
    quoted = json.loads(given)

    assert (0, len(past)) == (code, quoted["builds"])
    assert past[math.ceil(len(past) * 0.5) - 1] == quoted["spent_microdollars"]["median"]
    assert past[math.ceil(len(past) * 0.9) - 1] == quoted["spent_microdollars"]["high"]
    assert (0, True) == await _is_told(everything, ("quote", "examples/reading-log.json"), "9 in 10 within")


async def _is_told(everything, words: tuple[str, ...], text: str) -> tuple[int, bool]:
    code, output = await everything.starter(*words)
    return code, text in output


async def _refusal(everything) -> str | None:
    """How a build that is started now is refused."""
    with pytest.raises(WorkflowFailureError) as caught:
        await (await start_build(everything.client, {"idea": "x"}, "too-late")).result()
    return getattr(caught.value.cause, "type", None)


async def _is_held(control) -> bool:
    return (await control.get("/_control/hold")).json()["waiting"] == 1


async def _any(database, query: str, build_id: str) -> bool:
    return (await _numbers(database, query, build_id))[0] > 0


async def _numbers(database, query: str, build_id: str = "any") -> list[int]:
    async with database.connect() as connection:
        return [int(row[0]) for row in await connection.execute(text(query), {"b": build_id})]


def _id(handle) -> str:
    return handle.first_execution_run_id


async def _until(is_so) -> None:
    async with asyncio.timeout(60):
        while not await is_so():
            await asyncio.sleep(0.05)


async def _until_listed(everything) -> None:
    async with asyncio.timeout(30):
        while not (await everything.client.count_workflows(running_builds(USER))).count:
            await asyncio.sleep(0.1)
