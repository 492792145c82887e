"""Lost sandboxes: replaced once, from the newest restore point, and the model told exactly."""

from datetime import timedelta

import pytest

from tests.fakes import Gate, World, acts, bug, call, done, lost, refused
from tests.handles import failure, ready
from workflows.files import ProofReport
from workflows.guard import MAX_LOSSES, REPEATS, REPETITION_NOTE, UNDONE
from workflows.turns import Refusal, ToolOutcome


def told(world: World) -> list[str]:
    """What the model was told of sandboxes, in order."""
    return [note for one in world.asked for note in one.notes if note.startswith("[sandbox]")]


def undone_of(notes: tuple[str, ...]) -> list[str]:
    """The calls that the model was told are undone."""
    return [line.removeprefix("- ") for note in notes for line in note.splitlines() if line.startswith("- ")]


def build_sandboxes(world: World) -> list[tuple[int, int | None]]:
    """Generation and restore point of each building sandbox."""
    return [(one.generation, one.restore_point) for one in world.created if one.role == "build"]


async def test_calls_side_by_side_replace_a_lost_sandbox_once(bench):
    """However many calls notice the loss, there is one replacement and one word to the model."""
    reads = [call("read_file", "a"), call("grep", "b"), call("glob", "c")]
    world = World(replies=iter([acts(*reads), done()]), lose_calls={one.tool_use_id for one in reads})
    async with bench(world) as on:
        await ready(await on.start())

    assert [(1, None), (2, None)] == build_sandboxes(world)
    assert 1 == len(told(world))
    assert {2} == {run.sandbox.generation for run in world.tools}


async def test_upload_that_lands_while_its_sandbox_is_lost_is_what_is_restored(bench):
    """An upload in flight is waited for before a lost sandbox is replaced: nothing it saved is undone."""
    upload = Gate()
    world = World(
        replies=iter([acts(call("bash", "one")), acts(call("read_file", "a")), done()]),
        lose_calls={"read_file-a"},
        gates={"take_snapshot": [upload]},
    )
    noticed = Gate()
    world.gates["run_tool"] = [None, noticed]
    async with bench(world) as on:
        handle = await on.start()
        await noticed.reached.wait()
        noticed.opened.set()
        upload.opened.set()
        await ready(handle)

    assert [(1, None), (2, 1)] == build_sandboxes(world)
    assert "undone" not in told(world)[0]


async def test_upload_lost_with_its_sandbox_costs_one_sandbox(bench):
    """The failure of the old sandbox's upload never condemns the new sandbox."""
    world = World(
        replies=iter([acts(call("bash", "one")), acts(call("read_file", "a")), done()]),
        lose_calls={"read_file-a"},
        faults={"take_snapshot": [lost()]},
    )
    async with bench(world) as on:
        await ready(await on.start())

    assert [(1, None), (2, None)] == build_sandboxes(world)
    assert ["bash: one"] == [line[2:] for line in told(world)[0].splitlines()[2:]]
    assert 1 == len(told(world))


async def test_loss_found_by_the_upload_alone(bench):
    """A sandbox lost under the upload is replaced, and nothing changes files until the model was told.

    What it asked for meanwhile builds on what is undone; it may read, and see what there is.
    """
    calls = [call("bash", "two"), call("read_file", "a"), call("edit_file", "a")]
    world = World(
        replies=iter([acts(call("bash", "one")), acts(*calls), acts(call("bash", "three")), done()]),
        faults={"take_snapshot": [lost()]},
    )
    async with bench(world) as on:
        await ready(await on.start())

    assert [(1, None), (2, None)] == build_sandboxes(world)
    assert [1, 2, 2, 2, 2] == [run.sandbox.generation for run in world.tools]
    assert ["", UNDONE, "", UNDONE, ""] == [run.refuse for run in world.tools]
    assert "- bash: one" in world.asked[2].notes[0]


@pytest.mark.parametrize("before", [[], ["early"]])
async def test_a_call_that_ended_unheard_in_a_lost_sandbox_is_told_undone(bench, before):
    """Its result says it is done, so the model is told that it is not, before it changes anything more."""
    late = ToolOutcome(tool_use_id="bash-late", preview="ok", undone=True)
    calls = acts(*(call("bash", name) for name in (*before, "late", "next")))
    world = World(
        replies=iter([calls, acts(call("bash", "again")), done()]),
        lose_calls={"bash-late"},
        outcomes={"bash-late": late},
    )
    async with bench(world) as on:
        await ready(await on.start())

    undone = [f"bash: {name}" for name in (*before, "late")]
    assert [[], undone, []] == [undone_of(one.notes) for one in world.asked]
    assert ["bash-next"] == [run.call.tool_use_id for run in world.tools if run.refuse][-1:]
    assert "" == world.tools[-1].refuse


async def test_a_loss_that_undid_nothing_refuses_no_call(bench):
    """The files are as the model knows them; only processes are gone."""
    world = World(
        replies=iter([acts(call("read_file", "a"), call("bash", "one")), done()]), lose_calls={"read_file-a"}
    )
    async with bench(world) as on:
        await ready(await on.start())

    assert 1 == len(told(world))
    assert {""} == {run.refuse for run in world.tools}


async def test_a_call_that_a_loss_undid_is_no_loop_when_it_is_made_again(bench):
    """The same call with the same result three times is what any model does whose files went back thrice."""
    again = [acts(call("bash", "one")) for _ in range(REPEATS)]
    world = World(replies=iter([*again, done()]), faults={"take_snapshot": [lost()] * (REPEATS - 1)})
    async with bench(world) as on:
        await ready(await on.start())

    assert REPEATS - 1 == len(told(world))
    assert [] == [note for one in world.asked for note in one.notes if note == REPETITION_NOTE]


async def test_sandbox_that_dies_while_it_is_made(bench):
    """It is a loss like any other: the next generation is made, for the build and for the checks."""
    world = World(faults={"create_sandbox": [lost(), None, lost()]})
    async with bench(world) as on:
        result = await ready(await on.start())

    assert [(2, "build"), (4, "check")] == [(one.generation, one.role) for one in world.created]
    assert "sbx-4" == result.sandbox_id


async def test_sandboxes_that_always_die_end_the_build(bench):
    """After many losses without a restore point in between the build fails with a word, it never hangs."""
    world = World(faults={"create_sandbox": [lost()] * 50})
    async with bench(world) as on:
        ended = await failure(await on.start())

    assert "sandbox_error" == ended.type
    assert MAX_LOSSES + 1 == world.attempts.count("create_sandbox")
    assert ["sandbox_error"] == [one.outcome for one in world.finished]


@pytest.mark.parametrize("step", ["install_dependencies", "run_checks", "start_preview"])
async def test_loss_during_the_proof(bench, step):
    """The proof is made again in another fresh sandbox; the lost one is killed."""
    world = World(faults={step: [lost()]})
    async with bench(world) as on:
        result = await ready(await on.start())

    assert "sbx-3" == result.sandbox_id
    assert {"sbx-1", "sbx-2"} == set(world.killed)


async def test_loss_around_a_sleep(sleeping_bench):
    """A sandbox lost while it is paused or resumed is restored on waking; what was saved is not undone."""
    async with sleeping_bench(
        world := World(faults={"pause_sandbox": [lost()], "connect_sandbox": [lost()]})
    ) as on:
        midnight = await on.environment.get_current_time() + timedelta(hours=1)
        work = [acts(call("bash", "one")), refused(Refusal.SPENT, midnight), acts(call("bash", "two"))]
        world.replies = iter([*work, done()])
        await ready(await on.start())

    assert [(1, None), (2, 2)] == build_sandboxes(world)
    assert ["undone" in note for note in told(world)] == [False]


async def test_paused_sandbox_is_resumed_once_for_calls_side_by_side(bench):
    """The first calls after a pause share one connect."""
    reads = [call("read_file", "a"), call("grep", "b"), call("glob", "c")]
    world = World(
        replies=iter([done(), acts(*reads), done()]),
        proofs=iter([ProofReport(passed=False, summary="1 failed", report="no")]),
    )
    async with bench(world) as on:
        await ready(await on.start())

    assert ["sbx-1"] == world.connected


async def test_only_calls_that_took_effect_are_called_undone(bench):
    """A call never run, and one interrupted before it changed anything, cannot be undone."""
    cut = acts(call("bash", "cut")).model_copy(update={"stop_reason": "max_tokens"})
    interrupted = [call("bash", "without"), call("bash", "midway")]
    reads = call("read_file", "a")
    world = World(
        replies=iter([cut, acts(*interrupted, reads), done()]),
        outcomes={
            "bash-without": ToolOutcome(tool_use_id="bash-without", interrupted=True),
            "bash-midway": ToolOutcome(tool_use_id="bash-midway", interrupted=True, captured=3),
        },
        lose_calls={"read_file-a"},
    )
    async with bench(world) as on:
        await ready(await on.start())

    assert ["- bash: midway"] == told(world)[0].splitlines()[2:]


async def test_loss_at_the_end_makes_no_new_sandbox(bench):
    """A build that ends needs no sandbox any more: its last restore point stands."""
    world = World(replies=iter([acts(call("bash", f"{n}")) for n in range(9)]))
    world.faults["take_snapshot"] = [None, lost()]
    async with bench(world) as on:
        ended = await failure(await on.start({"idea": "x", "max_tool_calls": 1}))

    assert "iteration_limit_reached" == ended.type
    assert [(1, None)] == build_sandboxes(world)
    assert [1] == [one.restore_point for one in world.finished]


async def test_sandbox_that_cannot_be_killed_ends_no_build(bench):
    """The old sandbox is the sweep's; the build goes on."""
    world = World(
        replies=iter([acts(call("bash", "one")), done()]),
        lose_calls={"bash-one"},
        faults={"kill_sandbox": [bug(), bug()]},
    )
    async with bench(world) as on:
        await ready(await on.start())

    assert [] == world.killed


async def test_a_snapshot_names_the_newest_capture_of_its_own_sandbox(bench):
    """A check sandbox in between does not make it forget; in a replaced sandbox captures begin anew."""
    one, two, three = (call("bash", name) for name in ("one", "two", "three"))
    read = call("read_file", "a")
    captured = {one.tool_use_id: 7, two.tool_use_id: 0, three.tool_use_id: 1}
    world = World(
        replies=iter([acts(one), done(), acts(two), acts(read), acts(three), done()]),
        proofs=iter([ProofReport(passed=False, report="It fails.")]),
        outcomes={use: ToolOutcome(tool_use_id=use, captured=number) for use, number in captured.items()},
        lose_calls={read.tool_use_id},
    )
    async with bench(world) as on:
        await ready(await on.start())

    taken = [(each.sandbox.generation, each.captured) for each in world.snapshots if each.reason == "turn"]
    assert [(1, 7), (1, 7), (3, 1)] == taken
