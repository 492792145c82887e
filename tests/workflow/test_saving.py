"""When files are saved, and what people and the model are told where they cannot be."""

import pytest
from temporalio.exceptions import ApplicationError

from tests.fakes import Gate, World, acts, call, done, lost
from tests.handles import failure, ready
from workflows.errors import FailureType
from workflows.files import ProofReport
from workflows.models import BuildStatus
from workflows.saving import MOST_UNSAVED
from workflows.turns import ToolOutcome

FULL = "The disk is full."


def full() -> ApplicationError:
    """What a snapshot fails with while the sandbox's disk is full."""
    return ApplicationError(FULL, type=FailureType.DISK_FULL, non_retryable=True)


def away() -> ApplicationError:
    """What it fails with once the bucket was away for a minute."""
    return ApplicationError("The bucket is away.", type=FailureType.UNSAVED, non_retryable=True)


def notes(world: World, head: str) -> list[str]:
    """What the model was told under a head, in order."""
    return [note for one in world.asked for note in one.notes if note.startswith(head)]


def phase(name: str) -> ToolOutcome:
    """What a call of `narrate` that begins a phase gives."""
    return ToolOutcome(tool_use_id=f"narrate-{name}", phase=name)


@pytest.mark.parametrize(
    ("cadence", "saved"),
    [
        ("call", [(1, "call"), (1, "call"), (2, "call"), (3, "call")]),
        ("turn", [(1, "turn"), (2, "phase"), (3, "turn")]),
        ("phase", [(2, "phase")]),
    ],
)
async def test_snapshots_are_taken_as_the_cadence_says(bench, cadence, saved):
    """After each changing call, each turn that changed something, or each phase; and before a proof."""
    begun = call("narrate", "two").model_copy(update={"changing": False})
    world = World(
        cadence=cadence,
        replies=iter(
            [
                acts(call("bash", "a"), call("bash", "b")),
                acts(call("bash", "c"), begun),
                acts(call("bash", "d")),
                done(),
            ]
        ),
        outcomes={begun.tool_use_id: phase("two")},
    )
    async with bench(world) as on:
        await ready(await on.start())

    taken = [(one.turn, one.reason) for one in world.snapshots]
    assert [*saved, (4, "sleep")] == taken


async def test_a_snapshot_within_a_reply_says_which_calls_it_does_not_hold(bench):
    """So many last ones; what is taken once all has ended holds them all, cut short or not."""
    looked = call("read_file", "x").model_copy(update={"changing": False})
    batch = acts(call("bash", "a"), looked, call("bash", "b"), call("bash", "c"))
    world = World(cadence="call", replies=iter([batch, done()]))
    async with bench(world) as on:
        await ready(await on.start())

    taken = [(one.reason, one.unended) for one in world.snapshots]
    assert [("call", 3), ("call", 1), ("call", 0), ("sleep", 0)] == taken


async def test_a_long_phase_is_saved_now_and_then(bench):
    """However long a phase lasts, only so many calls can be undone."""
    batches = [acts(*(call("bash", f"{turn}-{each}") for each in range(10))) for turn in range(7)]
    world = World(cadence="phase", replies=iter([*batches, done()]))
    async with bench(world) as on:
        await ready(await on.start())

    assert [MOST_UNSAVED // 10, 8] == [one.turn for one in world.snapshots]


@pytest.mark.parametrize("kind", [FailureType.DISK_FULL, FailureType.WORKSPACE_REPLACED])
async def test_what_only_the_model_can_mend_is_told_once_and_its_calls_go_on(bench, kind):
    """A full disk, a workspace that is none: its calls run, each turn tries again, a loss undoes them all."""
    failure = ApplicationError(FULL, type=kind, non_retryable=True)
    world = World(
        replies=iter(
            [acts(call("bash", "one")), acts(call("bash", "two")), acts(call("bash", "rm")), done()]
        ),
        faults={"take_snapshot": [failure, failure, None, None]},
        outcomes={"bash-one": ToolOutcome(tool_use_id="bash-one", uncaptured=True)},
    )
    async with bench(world) as on:
        await ready(await on.start())

    assert [f"[snapshot] {FULL}"] == notes(world, "[snapshot]")
    assert ["bash-one", "bash-two", "bash-rm"] == [one.call.tool_use_id for one in world.tools]
    assert [(3, "turn"), (4, "sleep")] == [(one.turn, one.reason) for one in world.snapshots]


async def test_another_reason_is_told_too(bench):
    """Who made room hears that the folder is away as well."""
    away = ApplicationError("There is a link.", type=FailureType.WORKSPACE_REPLACED, non_retryable=True)
    world = World(
        replies=iter(
            [acts(call("bash", "one")), acts(call("bash", "two")), acts(call("bash", "mv")), done()]
        ),
        faults={"take_snapshot": [full(), away, None, None]},
    )
    async with bench(world) as on:
        await ready(await on.start())

    assert [f"[snapshot] {FULL}", "[snapshot] There is a link."] == notes(world, "[snapshot]")


async def test_what_could_not_be_captured_is_captured_again_and_undone_by_a_loss(bench):
    """A call whose changes no capture holds counts as unsaved until a snapshot has taken them."""
    world = World(
        replies=iter([acts(call("bash", "one")), acts(call("bash", "two")), acts(call("bash", "x")), done()]),
        faults={"take_snapshot": [full(), lost()]},
        outcomes={"bash-one": ToolOutcome(tool_use_id="bash-one", uncaptured=True)},
    )
    asked = Gate()
    world.gates["take_snapshot"] = [asked]
    async with bench(world) as on:
        handle = await on.start()
        await asked.reached.wait()
        asked.opened.set()
        await ready(handle)

    (told,) = notes(world, "[sandbox]")
    assert ["- bash: one", "- bash: two"] == told.splitlines()[2:]


async def test_work_that_cannot_be_saved_is_not_proven(bench):
    """The files of an older restore point prove nothing: the model is sent back, so many times at most."""
    world = World(
        replies=iter([acts(call("bash", "one")), *[done()] * 10]),
        faults={"take_snapshot": [full()] * 40},
    )
    async with bench(world) as on:
        ended = await failure(await on.start())

    assert "checks_failed" == ended.type
    assert FULL in ended.message
    assert [] == [one for one in world.created if one.role == "check"]
    assert f"[checks] You ended your turn, but your work cannot be proven. {FULL}" in notes(world, "[checks]")


async def test_a_bucket_that_is_away_is_shown_until_the_files_are_saved(bench):
    """Status and details say why nothing new is run; the snapshot is then tried for as long as it takes."""
    back = Gate()
    world = World(
        replies=iter([acts(call("bash", "one")), acts(call("bash", "two")), done()]),
        faults={"take_snapshot": [away()]},
        gates={"take_snapshot": [None, back]},
    )
    async with bench(world) as on:
        handle = await on.start()
        await back.reached.wait()
        during = BuildStatus.model_validate(await handle.query("status"))
        shown = (await handle.describe()).static_summary, await handle.query("__temporal_workflow_metadata")
        begun = len(world.tools)
        back.opened.set()
        await ready(handle)
        after = BuildStatus.model_validate(await handle.query("status"))

    assert ("The bucket is away.", "") == (during.trouble, after.trouble)
    assert "trouble: The bucket is away." in str(shown)
    assert 1 == begun
    assert [False, True, True] == [one.tell_outage for one in world.snapshots]


async def test_a_stop_waits_for_files_that_cannot_be_saved_yet(bench):
    """However long the bucket is away, the build ends with all its files and kills nothing before."""
    back = Gate()
    world = World(
        replies=iter([acts(call("bash", "one")), acts(call("bash", "two"))]),
        faults={"take_snapshot": [away()]},
        gates={"take_snapshot": [None, back]},
    )
    async with bench(world) as on:
        handle = await on.start()
        await back.reached.wait()
        await handle.signal("stop", "enough")
        during = BuildStatus.model_validate(await handle.query("status"))
        killed = list(world.killed)
        back.opened.set()
        ended = await failure(handle)

    assert ("CODE", "The bucket is away.", []) == (during.status, during.trouble, killed)
    assert ("stopped", "end") == (ended.type, world.snapshots[-1].reason)
    assert ["sbx-1"] == world.killed


async def test_a_bucket_that_is_away_during_a_restore_is_shown_until_it_is_read(bench):
    """Status and details say why nothing is run; the restore is then tried for as long as it takes."""
    back = Gate()
    unread = ApplicationError("The bucket is away.", type=FailureType.UNRESTORED, non_retryable=True)
    world = World(
        replies=iter([acts(call("bash", "one")), done()]),
        lose_calls={"bash-one"},
        faults={"create_sandbox": [None, unread]},
        gates={"create_sandbox": [None, None, back]},
    )
    async with bench(world) as on:
        handle = await on.start()
        await back.reached.wait()
        during = BuildStatus.model_validate(await handle.query("status"))
        shown = await handle.query("__temporal_workflow_metadata")
        back.opened.set()
        await ready(handle)
        after = BuildStatus.model_validate(await handle.query("status"))

    assert ("The bucket is away.", "") == (during.trouble, after.trouble)
    assert "trouble: The bucket is away." in str(shown)
    assert [1, 2, 3] == [one.generation for one in world.created]
    assert [True, False, True] == [one.tell_outage for one in world.created]


async def test_commands_that_a_loss_ended_are_told_by_name(bench):
    """The model knows what to start again; work that was undone is not proven before it has heard so."""
    world = World(
        replies=iter([acts(call("bash", "serve")), acts(call("bash", "two")), done(), done()]),
        faults={"take_snapshot": [None, lost()]},
        outcomes={
            "bash-serve": ToolOutcome(tool_use_id="bash-serve", captured=1, running=("npm run dev",)),
            "bash-two": ToolOutcome(tool_use_id="bash-two", captured=2, running=("npm run dev", "npm test")),
        },
    )
    async with bench(world) as on:
        await ready(await on.start())

    (told,) = notes(world, "[sandbox]")
    assert ["- npm run dev", "- npm test"] == told.splitlines()[2:4]
    assert "- bash: two" == told.splitlines()[-1]
    assert told in world.asked[3].notes


async def test_commands_that_a_pause_ended_are_told_by_name(bench):
    """They are stopped before it, so that they write nothing after the last capture."""
    failed = ProofReport(passed=False, report="it does not answer")
    world = World(
        replies=iter([acts(call("bash", "serve")), done(), acts(call("bash", "two")), done(), done()]),
        proofs=iter([failed]),
        intact=iter([True]),
        outcomes={"bash-serve": ToolOutcome(tool_use_id="bash-serve", captured=1, running=("npm run dev",))},
    )
    async with bench(world) as on:
        await ready(await on.start())

    (told,) = notes(world, "[sandbox]")
    assert "- npm run dev" == told.splitlines()[-1]
