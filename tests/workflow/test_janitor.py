"""A round of the janitor, on fakes."""

import asyncio

from tests.fakes import World, bug, passing
from tests.handles import HANGS
from workflows.leftovers import EndedBuild, JanitorReport

ENDED = tuple(EndedBuild(build_id=f"run-{n}", workflow_id=f"build-{n}", how="TERMINATED") for n in range(3))


async def round_of(on, *given: object) -> JanitorReport:
    handle = await on.run_other("JanitorWorkflow", given)
    return JanitorReport.model_validate(await asyncio.wait_for(handle.result(), HANGS))


async def test_each_ended_build_is_cleared(bench):
    """What was done for each is added up, the strays are killed last; an outage is waited out."""
    async with bench(world := World(ended=ENDED, faults={"find_ended": [passing()]})) as on:
        report = await round_of(on)

    assert list(ENDED) == world.cleared
    assert JanitorReport(closed=3, lost=3, killed=2 * 3 + 3, unknown=1, points=4, objects=5) == report
    assert ["find_ended"] * 2 + ["clear_build"] * 3 + ["sweep_sandboxes", "prune_files"] == world.attempts


async def test_one_that_cannot_be_cleared_keeps_no_other_waiting(bench):
    """It is counted, and left to the next round."""
    async with bench(world := World(ended=ENDED, faults={"clear_build": [None, bug()]})) as on:
        report = await round_of(on)

    assert [ENDED[0], ENDED[2]] == world.cleared
    assert (2, 1) == (report.closed, report.failed)


async def test_a_round_that_is_given_something_ignores_it(bench):
    """Started by hand with whatever input, it does its round and does not hang."""
    async with bench(World()) as on:
        reports = [await round_of(on, *given) for given in ((), (None,), ({"x": 1}, "y"))]

    assert [JanitorReport(killed=3, unknown=1, points=4, objects=5)] * 3 == reports
