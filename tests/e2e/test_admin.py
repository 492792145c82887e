"""The commands of admins, against a running stack."""

import asyncio

import pytest
from temporalio.client import WorkflowExecutionStatus

from activities.waking import running_builds

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


async def test_the_switch_is_turned_off_and_on(everything):
    """Off says what happens, on wakes whoever runs."""
    try:
        off = await everything.starter("switch", "off")
    finally:
        on = await everything.starter("switch", "on")

    assert (0, True) == (off[0], "running ones park" in off[1]), off
    assert (0, True) == (on[0], "running builds" in on[1]), on


async def _until_listed(everything) -> None:
    async with asyncio.timeout(30):
        while not (await everything.client.count_workflows(running_builds(USER))).count:
            await asyncio.sleep(0.1)
