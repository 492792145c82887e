"""The provider's longest continuous run: a sandbox is paused and resumed between turns before it ends."""

from datetime import timedelta

from tests.fakes import World, acts, call, done, lost
from tests.handles import failure, ready
from tests.histories import activity_names
from workflows.guard import MAX_PROOFS
from workflows.proof import OUTRUN
from workflows.workspace import RENEW_BEFORE, RENEWED

TURNS = 2


async def renewed(on, world: World, *ends: timedelta):
    """Build with sandboxes whose runs end so long from now."""
    now = await on.environment.get_current_time()
    world.run_ends = iter([now + end for end in ends])
    handle = await on.start()
    await ready(handle)
    return handle


def told(world: World) -> list[int]:
    """The turns in which the model was told of a renewal."""
    return [one.turn for one in world.asked if RENEWED in one.notes]


async def test_a_run_that_ends_soon_is_renewed_between_turns(bench):
    """Before a reply is bought the sandbox is saved, paused and resumed, once, and the model is told."""
    world = World(replies=iter([acts(call("bash", "one")), done()]))
    async with bench(world) as on:
        handle = await renewed(on, world, RENEW_BEFORE - timedelta(minutes=1), timedelta(hours=1))
        names = await activity_names(handle)

    assert ["take_snapshot", "pause_sandbox", "connect_sandbox", "call_model"] == [
        name for name in names if name in {"take_snapshot", "pause_sandbox", "connect_sandbox", "call_model"}
    ][:4]
    assert [1] == told(world)
    assert {1} == {run.sandbox.generation for run in world.tools}


async def test_a_run_that_lasts_is_left_alone(bench):
    """With more than the longest command and five minutes left nothing is paused before the proof."""
    world = World(replies=iter([acts(call("bash", "one")), done()]))
    async with bench(world) as on:
        await renewed(on, world, RENEW_BEFORE + timedelta(hours=1))

    assert [] == world.connected
    assert [] == told(world)


async def test_every_run_is_renewed(bench):
    """The run that a resume begins has an end of its own."""
    world = World(replies=iter([*(acts(call("bash", f"{n}")) for n in range(TURNS)), done()]))
    soon = RENEW_BEFORE / 2
    async with bench(world) as on:
        await renewed(on, world, soon, soon, soon, timedelta(hours=1))

    assert [1, 2, 3] == told(world)


async def test_a_sandbox_lost_by_its_renewal_is_restored(bench):
    """One that comes back old is replaced, and the model is told of a loss and of no renewal."""
    world = World(replies=iter([acts(call("bash", "one")), done()]), intact=iter([False]))
    async with bench(world) as on:
        await renewed(on, world, RENEW_BEFORE / 2, timedelta(hours=1))

    assert [] == told(world)
    assert any("was lost (its marker is missing)" in note for note in world.asked[0].notes)
    assert {2} == {run.sandbox.generation for run in world.tools}


async def test_a_proof_that_outlasts_its_sandbox_has_failed(bench):
    """Another sandbox would not last longer: the model is told, then the build ends with a word."""
    world = World(replies=iter([done()] * MAX_PROOFS), faults={"install_dependencies": [lost()] * MAX_PROOFS})
    async with bench(world) as on:
        now = await on.environment.get_current_time()
        world.run_ends = iter([now + timedelta(hours=1), *[now] * MAX_PROOFS])
        ended = await failure(await on.start())

    checks = [one for one in world.created if one.role == "check"]
    told = [one for one in world.asked if any(OUTRUN in note for note in one.notes)]
    assert "checks_failed" == ended.type
    assert OUTRUN in ended.message
    assert (MAX_PROOFS, MAX_PROOFS - 1) == (len(checks), len(told))
