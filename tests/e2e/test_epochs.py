"""A build that outgrows its model's context many times over, run after run, and still ends READY."""

import itertools

import pytest

from starter.commands import start_build
from tests.e2e.test_kill import one
from tests.e2e.test_prefix import assert_starts_with, requests_of, rich_user
from workflows.models import BuildResult

HOUR = 3_600


@pytest.mark.parametrize(
    ("turns", "context", "turns_per_run", "epochs"),
    [
        pytest.param(90, 22_000, 40, 2, id="short"),
        pytest.param(
            2_000, 40_000, 400, 8, id="long", marks=[pytest.mark.long, pytest.mark.timeout(2 * HOUR)]
        ),
    ],
)
async def test_a_build_goes_on_through_epochs(
    everything, open_worker, model_control, database, turns, context, turns_per_run, epochs
):
    """Every turn is made once, each epoch begins with at most half the tokens, and within one all only grows.

    The context of the model holds a part of the build only, and the build takes several runs.
    """
    user = await rich_user(database)
    request = {
        "idea": f"[[script:long turns={turns} told=19]]",
        "project": user,
        "user": user,
        "max_tool_calls": turns + 50,
        "turns_per_run": turns_per_run,
    }
    await model_control.post("/_control/limits", json={"max_input_tokens": context})
    try:
        async with open_worker():
            handle = await start_build(everything.client, request, user)
            build_id = handle.first_execution_run_id
            result = BuildResult.model_validate(await handle.result())
    finally:
        await model_control.post("/_control/limits", json={"max_input_tokens": None})
    sent = await requests_of(model_control)

    assert ("READY", turns, turns + 1) == (result.status, result.tool_calls, result.turns)
    roots = "SELECT count(*) FROM transcript WHERE build_id = :b AND role = 'system'"
    assert await one(database, roots, build_id) >= epochs
    assert build_id != (await handle.describe()).run_id
    shortened = 0
    for before, after in itertools.pairwise(sent):
        if after["messages"] == 1:
            shortened += 1
            assert input_of(after) <= input_of(before) // 2
            assert before["digests"]["system"] == after["digests"]["system"]
        else:
            assert_starts_with(before["digests"], after["digests"])
    assert shortened >= 1


def input_of(request: dict) -> int:
    """All input of a request."""
    used = request["usage"]
    return sum(
        used[name] for name in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    )
