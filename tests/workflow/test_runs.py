"""One build over many runs: history stays small however long it works or rests, and nothing is dropped."""

import itertools
from datetime import timedelta

from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue

from tests.fakes import Gate, World, acts, call, done, refused
from tests.handles import ready
from tests.histories import chain
from workflows.build import RUN_EVENTS, SLEEPER_EVENTS
from workflows.models import BuildStatus
from workflows.requests import MAX_REQUEST_BYTES, read_start
from workflows.state import BuildState, Status
from workflows.turns import Refusal

A_TURN = 100
"""Events that one turn of these tests and the rest that follows it add at most."""


async def test_parked_build_never_fills_a_history(sleeping_bench):
    """A build that looks at the kill switch again and again goes on in new runs."""
    replies = itertools.chain([refused(Refusal.DISABLED)] * 12, [done()])
    async with sleeping_bench(World(replies=replies)) as on:
        handle = await on.start()
        await ready(handle)
        runs = [history async for history in chain(on.client, handle)]

    assert len(runs) > 1
    assert max(len(history.events) for history in runs) < SLEEPER_EVENTS + A_TURN


async def test_a_long_build_sleeps_in_a_new_run(sleeping_bench):
    """Waking replays a short history; a wake that comes while the runs change is not lost."""
    async with sleeping_bench(world := World()) as on:
        midnight = await on.environment.get_current_time() + timedelta(days=300)
        turns = [acts(call("read_file", f"{n}")) for n in range(14)]
        world.replies = itertools.chain(turns, [refused(Refusal.SPENT, midnight)] * 2, [done()])
        handle = await on.start()
        with on.environment.auto_time_skipping_disabled():
            await world.shows("SLEEPING")
            asleep = await handle.describe()
            await handle.signal("wake")
            result = await ready(handle)

    assert asleep.history_length < A_TURN
    assert (15, 14) == (result.turns, result.tool_calls)


async def test_no_run_is_longer_than_a_worker_replays_in_time(bench):
    """A build goes on in a new run of its own accord, long before the server suggests it."""
    turns = 110
    world = World(replies=iter([*(acts(call("bash", f"{n}")) for n in range(turns)), done()]))
    async with bench(world) as on:
        handle = await on.start({"idea": "x", "max_tool_calls": turns + 1})
        result = await ready(handle)
        lengths = [len(run.events) async for run in chain(on.client, handle)]

    assert turns == result.tool_calls
    assert 2 == len(lengths)
    assert max(lengths) < RUN_EVENTS + A_TURN


async def test_upload_in_flight_is_taken_in_before_the_next_run(bench):
    """Continue-as-new drops what still runs, so an upload is awaited before it."""
    upload = Gate()
    world = World(replies=iter([acts(call("bash", "one")), done()]), gates={"take_snapshot": [upload]})
    async with bench(world) as on:
        handle = await on.start({"idea": "x", "turns_per_run": 1})
        await upload.reached.wait()
        thoughts = len(world.asked)
        upload.opened.set()
        await ready(handle)

    assert 1 == thoughts
    assert [None, 1] == [one.parent for one in world.snapshots]


async def test_what_is_said_and_asked_goes_over_to_the_next_run(bench):
    """A pause, a word of the founder and a new limit that come at the end of a run hold in the next."""
    upload = Gate()
    world = World(replies=iter([acts(call("bash", "one")), done()]), gates={"take_snapshot": [upload]})
    async with bench(world) as on:
        handle = await on.start({"idea": "x", "turns_per_run": 1})
        await upload.reached.wait()
        await handle.signal("pause")
        await handle.signal("steer", "use blue")
        await handle.execute_update("set_limit", {"max_tool_calls": 9})
        upload.opened.set()
        await world.shows("PAUSED")
        paused = await handle.query("status", result_type=BuildStatus)
        await handle.signal("resume")
        await ready(handle)

    assert 9 == paused.max_tool_calls
    assert ("[founder] use blue",) == world.asked[1].notes


def test_carried_state_is_not_limited_as_a_request_is():
    """Only what people send is limited: a build is never failed for what it hands over itself."""
    state = BuildState(status=Status.CODE, notes=("x" * MAX_REQUEST_BYTES,))
    payload = Payload(metadata={"encoding": b"json/plain"}, data=state.model_dump_json().encode())

    assert state == read_start(RawValue(payload), carried=True)
