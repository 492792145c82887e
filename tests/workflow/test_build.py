"""The path of a build, on fakes: what is asked in which order, and what every end looks like."""

import asyncio
import itertools
from datetime import timedelta

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError, CancelledError

from tests.fakes import World, acts, balance, call, done
from tests.handles import ready, until
from tests.histories import activity_names
from workflows.files import ProofReport
from workflows.models import BuildResult, BuildStatus, ReceiptSoFar
from workflows.state import NO_PHASE
from workflows.turns import ModelCall, ModelReply, ToolOutcome


async def test_path(bench):
    """A build prepares, scaffolds, turns, proves in a fresh sandbox, and ends READY."""
    world = World(replies=iter([acts(call("write_file", "app.py")), done()]))
    async with bench(world) as on:
        handle = await on.start()
        result = BuildResult.model_validate(await handle.result())
        names = await activity_names(handle)

    assert result.status == "READY"
    assert result.build_version == "build_v0_1"
    assert result.preview_url == "http://127.0.0.1:1/"
    assert result.sandbox_id == "sbx-2"
    assert world.killed == ["sbx-1"]
    assert names[:9] == [
        "prepare_build",
        "record_status",
        "create_sandbox",
        "record_status",
        "call_model",
        "record_cost",
        "run_tool",
        "take_snapshot",
        "call_model",
    ]
    assert [name for name in names if name in ("install_dependencies", "run_checks", "start_preview")] == [
        "install_dependencies",
        "run_checks",
        "start_preview",
    ]


async def test_failed_proof_goes_back_to_the_model(bench):
    """A failed check is an observation: the model reads the report, and the proof is made again."""
    world = World(
        replies=iter([acts(call("bash", "make")), done(), acts(call("bash", "mend")), done()]),
        proofs=iter([ProofReport(passed=False, summary="1 failed", report="test_x failed")]),
    )
    async with bench(world) as on:
        result = BuildResult.model_validate(await (await on.start()).result())

    assert result.status == "READY"
    assert "test_x failed" in world.asked[2].notes[-1]
    assert [one.role for one in world.created] == ["build", "check", "check"]
    assert world.killed == ["sbx-2", "sbx-1"]


async def test_checks_that_never_pass_end_the_build(bench):
    """After a bounded number of failed proofs the build is FAILED with a sentence, not READY."""
    world = World(
        replies=iter([acts(call("bash", f"{n}")) if n % 2 else done() for n in range(1, 40)]),
        proofs=iter([ProofReport(passed=False, summary="1 failed", report="no") for _ in range(9)]),
    )
    async with bench(world) as on:
        failure = await _failure(await on.start())

    assert failure.type == "checks_failed"
    assert "1 failed" in failure.message
    assert world.finished[0].status == "failed"


async def test_read_only_calls_share_a_turn_and_changing_ones_keep_their_order(bench):
    """Every call of a reply is run once, changing ones in the reply's order."""
    calls = [
        call("read_file", "a"),
        call("grep", "b"),
        call("bash", "1"),
        call("write_file", "2"),
        call("glob"),
    ]
    world = World(replies=iter([acts(*calls), done()]))
    async with bench(world) as on:
        result = BuildResult.model_validate(await (await on.start()).result())

    assert result.tool_calls == 5
    assert {one.tool_use_id for one in calls} == {run.call.tool_use_id for run in world.tools}
    assert [run.call.label for run in world.tools[2:]] == ["1", "2", "glob"]


async def test_lost_sandbox_is_replaced_and_the_model_told(bench):
    """A sandbox lost under a call is restored once from the restore point, and the call answered there."""
    world = World(
        replies=iter([acts(call("bash", "one")), acts(call("bash", "two"), call("bash", "three")), done()]),
        lose_calls={"bash-three"},
    )
    async with bench(world) as on:
        handle = await on.start()
        result = BuildResult.model_validate(await handle.result())

    assert result.status == "READY"
    assert [one.restore_point for one in world.created[:2]] == [None, 1]
    told = world.asked[2].notes[0]
    assert "bash: two" in told
    assert "bash: one" not in told
    assert world.tools[-1].sandbox.generation == 2


async def test_reply_that_was_cut_off_runs_no_tool(bench):
    """Tool calls of a reply cut off at max_tokens get an error result each, and the model is nudged."""
    cut = acts(call("bash", "half")).model_copy(update={"stop_reason": "max_tokens"})
    world = World(replies=iter([cut, done()]))
    async with bench(world) as on:
        await (await on.start()).result()

    assert world.tools[0].refuse
    assert "cut off" in world.asked[1].notes[0]


@pytest.mark.parametrize("count", [4])
async def test_replies_that_lead_nowhere_end_the_build(bench, count):
    """Empty replies are nudged a bounded number of times, then the build fails with a word."""
    empty = done().model_copy(update={"stop_reason": "max_tokens"})
    world = World(replies=iter([empty] * count))
    async with bench(world) as on:
        failure = await _failure(await on.start())

    assert failure.type == "api_error"


async def test_model_that_declines_ends_the_build(bench):
    """A refusal ends as `refused` with the provider's reason, its calls are not run, the files are saved."""
    declined = acts(call("bash", "half")).model_copy(
        update={"stop_reason": "refusal", "preview": "No malware. (category cyber)"}
    )
    world = World(replies=iter([acts(call("bash", "one")), declined]))
    async with bench(world) as on:
        failure = await _failure(await on.start())

    assert failure.type == "refused"
    assert failure.message == "The model declined to go on: No malware. (category cyber)"
    assert [run.call.label for run in world.tools] == ["one"]
    assert world.snapshots[-1].reason == "end"
    assert [one.outcome for one in world.finished] == ["refused"]


async def test_repetition_is_steered_then_stopped(bench):
    """The same call three times is steered; three times again stops the build."""
    world = World(replies=iter([acts(call("bash", "again")) for _ in range(9)]))
    async with bench(world) as on:
        failure = await _failure(await on.start())

    assert failure.type == "repetition_detected"
    assert "same call three times" in world.asked[3].notes[0]
    assert len(world.tools) == 6


async def test_limit_of_tool_calls(bench):
    """A build out of tool calls ends as iteration_limit_reached; its files are saved."""
    world = World(replies=iter([acts(call("bash", f"{n}")) for n in range(9)]))
    async with bench(world) as on:
        failure = await _failure(await on.start({"idea": "x", "max_tool_calls": 2}))

    assert failure.type == "iteration_limit_reached"
    assert world.snapshots[-1].reason == "end"


@pytest.mark.parametrize("kind", ["AgentDisabled", "UserSuspended", "UnknownModel"])
async def test_refused_start_is_a_typed_failure(bench, kind):
    """The kill switch, a suspended user, an unknown model: the start fails at once under its own name."""
    world = World(refuse_start=ApplicationError("no, because", type=kind, non_retryable=True))
    async with bench(world) as on:
        failure = await _failure(await on.start())

    assert (kind, "no, because") == (failure.type, failure.message)


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ("x", "one JSON object"),
        ([1], "one JSON object"),
        ({}, "idea"),
        ({"idea": 3}, "idea"),
        ({"idea": "x", "ideas": "y"}, "ideas"),
        ({"idea": "x", "max_tool_calls": 0}, "max_tool_calls"),
        ({"idea": "x", "project": "../x"}, "project"),
        ({"idea": "x" * 300_000}, "bytes"),
        ({"kind": "nightshift.state"}, "kind"),
    ],
)
async def test_invalid_request_fails_at_once_naming_the_field(bench, given, word):
    """No request leaves a run in RUNNING: it fails as InvalidBuildRequest with the field's name."""
    async with bench(World()) as on:
        failure = await _failure(await on.start(given))

    assert failure.type == "InvalidBuildRequest"
    assert word in failure.message


async def test_more_than_one_input_fails(bench):
    """A run that was started with two inputs says so, in place of waiting for ever."""
    async with bench(World()) as on:
        ended = await _failure(await on.start(more=[{"idea": "y"}]))

    assert "InvalidBuildRequest" == ended.type
    assert "one input" in ended.message
    assert "got 2" in ended.message


@pytest.mark.parametrize("given", [[], [5], ["abc"], [None], [{"x": 1}], [{"workflow_id": "a"}, 1]])
async def test_a_preview_that_names_no_build_fails(bench, given: list[object]):
    """At once and naming the field."""
    async with bench(World()) as on:
        ended = await _failure(await on.run_other("PreviewWorkflow", given))

    assert "InvalidBuildRequest" == ended.type


async def test_a_mistyped_workflow_type_fails(bench):
    """It names the types that there are."""
    async with bench(World()) as on:
        ended = await _failure(await on.run_other("BuildWorkflo", [{"idea": "x"}]))

    assert "UnknownWorkflowType" == ended.type
    assert "`BuildWorkflow`" in ended.message


@pytest.mark.parametrize("given", [{"idea": "x"}, {"idea": 3}])
async def test_a_build_that_did_not_start_says_so_when_asked(bench, given):
    """Whoever looks later sees FAILED and why, and no build that seems to be starting for ever."""
    why = ApplicationError("switched off", type="AgentDisabled", non_retryable=True)
    async with bench(World(refuse_start=why)) as on:
        handle = await on.start(given)
        refused = await _failure(handle)
        shown = await handle.query("status", result_type=BuildStatus)

    assert ("FAILED", refused.type, refused.message) == (shown.status, shown.outcome, shown.message)


async def test_start_without_input(bench):
    """A start without any input fails at once too."""
    async with bench(World()) as on:
        handle = await on.client.start_workflow("BuildWorkflow", id="none", task_queue=on.task_queue)
        failure = await _failure(handle)

    assert failure.type == "InvalidBuildRequest"


async def test_continue_as_new_carries_everything(bench):
    """A build of many runs is one build: turns, money, files and notes go on."""
    world = World(replies=iter([*(acts(call("bash", f"{n}")) for n in range(6)), done()]))
    async with bench(world) as on:
        handle = await on.start({"idea": "x", "turns_per_run": 2})
        result = BuildResult.model_validate(await handle.result())
        names = await activity_names(handle)

    assert (result.status, result.turns, result.tool_calls) == ("READY", 7, 6)
    assert "prepare_build" not in names
    assert len({one.build_id for one in world.asked}) == 1
    assert [one.parent for one in world.snapshots] == [None, 1, 2, 3, 4, 5, 6]


async def test_cancel_saves_and_kills(bench):
    """A cancelled build saves its files, kills its sandbox, closes its row, and ends as cancelled."""
    asked = asyncio.Event()

    def unavailable(_: ModelCall) -> ModelReply:
        asked.set()
        raise ApplicationError("overloaded", type="ProviderUnavailable", next_retry_delay=timedelta(hours=1))

    world = World(replies=itertools.chain([acts(call("bash", "work"))], itertools.repeat(unavailable)))
    async with bench(world) as on:
        handle = await on.start()
        await asked.wait()
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()

    assert isinstance(caught.value.cause, CancelledError)
    assert [one.outcome for one in world.finished] == ["cancelled"]
    assert world.snapshots[-1].reason == "end"
    assert world.killed == ["sbx-1"]


async def _failure(handle) -> ApplicationError:
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.cause, ApplicationError)
    return caught.value.cause


@pytest.mark.parametrize(("at_end", "whole"), [(None, 1_000), (1_007, 1_007)])
async def test_the_receipt_tells_what_was_spent_by_phase(bench, at_end: int | None, whole: int):
    """At any moment, and after the end: what a phase spent is put down to it, and it comes to the whole.

    Also where the sandbox's last seconds are booked with the end; an older worker did not tell.
    """
    step = call("narrate", "we begin")
    world = World(
        replies=iter([acts(call("bash", "one")), acts(step), acts(call("bash", "two")), done()]),
        balances=iter([balance(settled=spent) for spent in (100, 250, 400, 1_000)]),
        spent_at_end=at_end,
        outcomes={step.tool_use_id: ToolOutcome(tool_use_id=step.tool_use_id, phase="Build")},
    )
    async with bench(world) as on:
        handle = await on.start(start_signal="pause")
        await until(handle, "PAUSED")
        before = await handle.query("receipt", result_type=ReceiptSoFar)
        await handle.signal("resume")
        result = await ready(handle)
        after = await handle.query("receipt", result_type=ReceiptSoFar)

    assert (0, {}, None) == (before.spent_microdollars, before.by_phase, before.day)
    assert whole == after.spent_microdollars == result.spent_microdollars == sum(after.by_phase.values())
    assert {NO_PHASE, "Build"} == set(after.by_phase)
    assert after.by_phase["Build"] >= 600
    last = balance(settled=1_000)
    assert (last.day, last.allowance, last.left) == (
        after.day, after.day_allowance_microdollars, after.day_left_microdollars,
    )  # fmt: skip


async def test_each_call_is_made_for_the_item_that_was_named_last(bench):
    """A phase that begins without one forgets the item of the phase before."""
    first, second, third = (call("narrate", name) for name in ("one", "two", "three"))
    told = (
        (first, {"phase": "Build", "plan_item": "a page"}),
        (second, {"plan_item": "a form"}),
        (third, {"phase": "Polish"}),
    )
    world = World(
        replies=iter([acts(first), acts(second), acts(third), done()]),
        outcomes={
            each.tool_use_id: ToolOutcome.model_validate({"tool_use_id": each.tool_use_id, **values})
            for each, values in told
        },
    )
    async with bench(world) as on:
        await ready(await on.start())

    assert [("", ""), ("Build", "a page"), ("Build", "a form"), ("Polish", "")] == [
        (each.phase, each.plan_item) for each in world.asked
    ]
