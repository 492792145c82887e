"""What keeps a build from talking, looping or spending for nothing, and what it is told before it ends."""

from tests.fakes import ALLOWANCE, World, acts, balance, call, done
from tests.handles import failure, ready
from workflows import guard
from workflows.turns import ModelReply, ToolOutcome

PLAN = {"idea": "x", "build_plan": {"phases": [{"name": "Base"}, {"name": "Polish"}]}}


def begins(phase: str) -> tuple[ModelReply, dict[str, ToolOutcome]]:
    """A turn in which a phase begins."""
    told = call("narrate", phase)
    return acts(told), {told.tool_use_id: ToolOutcome(tool_use_id=told.tool_use_id, phase=phase)}


def heard(world: World, start: str) -> list[int]:
    """Which calls of the model were told something that starts so, counted from 0."""
    return [n for n, one in enumerate(world.asked) if any(note.startswith(start) for note in one.notes)]


async def test_done_with_open_phases_is_reminded_and_then_the_checks_decide(bench):
    """A model that says it is done is told what has not begun, twice at most: the proof has the last word."""
    world = World(replies=iter([done() for _ in range(5)]))
    async with bench(world) as on:
        await ready(await on.start(PLAN))

    assert [1, 2] == heard(world, "[nightshift] These phases of the plan have not begun: Base, Polish.")
    assert 3 == len(world.asked)


async def test_phases_that_began_are_not_reminded_of(bench):
    """Only what is open is named; with nothing open the end of a turn is taken as it is."""
    base, outcomes = begins("Base")
    polish, more = begins("Polish")
    world = World(replies=iter([base, done(), polish, done()]), outcomes=outcomes | more)
    async with bench(world) as on:
        await ready(await on.start(PLAN))

    assert [2] == heard(world, "[nightshift] These phases of the plan have not begun: Polish.")
    assert 4 == len(world.asked)


async def test_money_that_moves_nothing_is_told_and_then_ends_the_build(bench):
    """A day's allowance without progress is told; two of them end the build, however varied its calls are."""
    spent = [balance(settled=ALLOWANCE * n // 2) for n in range(8)]
    world = World(replies=iter(acts(call("bash", f"{n}")) for n in range(8)), balances=iter(spent))
    async with bench(world) as on:
        ended = await failure(await on.start())

    assert "repetition_detected" == ended.type
    assert "$8.00 were spent without" in ended.message
    assert 1 == len(heard(world, "[nightshift] A day's worth of money"))


def polled(*said: str) -> World:
    """One command, again and again, with what each call of it gave."""
    calls = [call("bash", "tail -n 1 server.log", tool_use_id=f"poll-{n}") for n in range(len(said))]
    return World(
        replies=iter([*(acts(one) for one in calls), done()]),
        outcomes={
            one.tool_use_id: ToolOutcome(tool_use_id=one.tool_use_id, digest=digest)
            for one, digest in zip(calls, said, strict=True)
        },
    )


async def test_polling_a_log_that_grows_is_no_loop(bench):
    """The same call with another result each time is neither told nor ended."""
    world = polled(*"abcdefghi")
    async with bench(world) as on:
        await ready(await on.start())

    assert [] == heard(world, "[nightshift] You have made the same call")


async def test_the_same_call_with_the_same_result_is_told_and_then_ends_the_build(bench):
    """Three of them are told; three more end it."""
    world = polled(*"aaaaaaaa")
    async with bench(world) as on:
        ended = await failure(await on.start())

    assert "repetition_detected" == ended.type
    assert [3] == heard(world, "[nightshift] You have made the same call")
    assert 6 == len(world.tools)


async def test_progress_forgives_an_earlier_loop(bench):
    """A loop that was left behind long ago is told again, not ended."""
    base, outcomes = begins("Base")
    world = polled(*"aaabbb")
    before, after = [next(world.replies) for _ in range(3)], list(world.replies)
    world.replies, world.outcomes = iter([*before, base, *after]), world.outcomes | outcomes
    async with bench(world) as on:
        await ready(await on.start())

    assert [3, 7] == heard(world, "[nightshift] You have made the same call")


async def test_a_phase_that_is_named_again_is_no_progress(bench):
    """Saying the same phase over and over does not keep a build alive that moves nothing."""
    told = [call("narrate", "Base", tool_use_id=f"n{n}", digest=f"{n}") for n in range(8)]
    outcomes = {
        one.tool_use_id: ToolOutcome(tool_use_id=one.tool_use_id, phase="Base", phase_again=n > 0)
        for n, one in enumerate(told)
    }
    spent = [balance(settled=ALLOWANCE * n // 2) for n in range(8)]
    world = World(replies=iter([acts(one) for one in told]), outcomes=outcomes, balances=iter(spent))
    async with bench(world) as on:
        ended = await failure(await on.start())

    assert "$8.00 were spent without" in ended.message


async def test_calls_beyond_the_limit_are_not_run(bench):
    """A reply may hold more calls than are left: those beyond are answered, not run, and the build ends."""
    calls = tuple(call("read_file", f"{n}") for n in range(12))
    world = World(replies=iter([acts(*calls)]))
    async with bench(world) as on:
        ended = await failure(await on.start({"idea": "x", "max_tool_calls": 10}))

    assert "iteration_limit_reached" == ended.type
    assert {"10", "11"} == {run.call.label for run in world.tools if run.refuse == guard.OVER_LIMIT}
    assert 12 == len(world.tools)


async def test_a_command_that_turns_green_is_progress(bench):
    """A failing check that passes counts the money anew: a dear build that moves on is not even told."""
    replies, outcomes = list[ModelReply](), dict[str, ToolOutcome]()
    for pair in range(6):
        red, green = (call("bash", "check", tool_use_id=f"{pair}-{each}") for each in ("red", "green"))
        outcomes[red.tool_use_id] = ToolOutcome(tool_use_id=red.tool_use_id, is_error=True)
        reads = (call("read_file", f"{pair}-{n}") for n in range(guard.WINDOW))
        replies += [acts(red), acts(green, *reads)]
    spent = [balance(settled=ALLOWANCE * n // 4) for n in range(len(replies))]
    replies = [one.model_copy(update={"balance": day}) for one, day in zip(replies, spent, strict=True)]
    world = World(replies=iter([*replies, done()]), outcomes=outcomes, balances=iter(spent))
    async with bench(world) as on:
        await ready(await on.start())

    assert [] == heard(world, "[nightshift] A day's worth of money")


async def test_a_full_context_goes_on_in_a_shorter_one(bench):
    """A reply that filled the context is not acted on, and the next call opens a new epoch, once."""
    full = ModelReply(stop_reason=guard.FULL_CONTEXT, tool_calls=(call("bash", "half"),), cost=1)
    world = World(replies=iter([full, acts(call("bash", "one")), done()]))
    async with bench(world) as on:
        await ready(await on.start())

    assert [False, True, False] == [one.compact for one in world.asked]
    assert [("half", guard.NOT_RUN), ("one", "")] == [(run.call.label, run.refuse) for run in world.tools]
