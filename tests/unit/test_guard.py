from datetime import date
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflows import guard
from workflows.guard import Next
from workflows.turns import Balance, ModelReply, ToolCall, ToolOutcome

CALLS = st.lists(
    st.builds(
        ToolCall,
        tool_use_id=st.just("1"),
        tool=st.just("bash"),
        label=st.just(""),
        changing=st.booleans(),
        digest=st.sampled_from("abcdef"),
    ),
    max_size=15,
).map(tuple)
NEVER_RUN = ("refusal", "max_tokens", "model_context_window_exceeded", "", "none")


def call(digest: str = "a", *, changing: bool = True) -> ToolCall:
    return ToolCall(tool_use_id="1", tool="bash", label="ls", changing=changing, digest=digest)


@pytest.mark.parametrize(
    ("stop_reason", "without", "with_calls"),
    [
        ("tool_use", Next.NUDGE, Next.ACT),
        ("end_turn", Next.REPORT, Next.ACT),
        ("stop_sequence", Next.REPORT, Next.ACT),
        ("pause_turn", Next.NUDGE, Next.ACT),
        ("refusal", Next.REFUSED, Next.REFUSED),
        ("max_tokens", Next.NUDGE, Next.NUDGE),
        ("model_context_window_exceeded", Next.NUDGE, Next.NUDGE),
        ("", Next.NUDGE, Next.NUDGE),
        ("none", Next.NUDGE, Next.NUDGE),
        ("compaction", Next.NUDGE, Next.ACT),
        ("something new", Next.NUDGE, Next.ACT),
    ],
)
def test_what_follows_a_reply(stop_reason: str, without: Next, with_calls: Next):
    """The stop reason and the calls decide; an unknown reason neither ends nor breaks a build."""
    assert without is guard.after_reply(ModelReply(stop_reason=stop_reason))
    assert with_calls is guard.after_reply(ModelReply(stop_reason=stop_reason, tool_calls=(call(),)))


@settings(deadline=None, max_examples=50)
@given(st.one_of(st.text(), st.sampled_from(NEVER_RUN)), CALLS)
def test_only_a_whole_reply_with_calls_acts(stop_reason: str, calls: tuple[ToolCall, ...]):
    """No tool of a reply that was cut off or refused is ever run, and none is ever left out."""
    following = guard.after_reply(ModelReply(stop_reason=stop_reason, tool_calls=calls))

    assert (bool(calls) and stop_reason not in NEVER_RUN) == (following is Next.ACT)


@pytest.mark.parametrize("stop_reason", ["max_tokens", "model_context_window_exceeded", "", "pause_turn"])
def test_a_nudge_says_what_to_do(stop_reason: str):
    """Each is a sentence to the model, marked as ours."""
    assert guard.nudge_for(stop_reason).startswith("[nightshift] ")


def test_a_nudge_names_the_limit_that_was_hit():
    """Smaller steps help against the one, short calls against the other."""
    reasons = ("max_tokens", "model_context_window_exceeded", "pause_turn", "compaction", "end_turn")

    assert 5 == len({guard.nudge_for(reason) for reason in reasons})


@settings(deadline=None, max_examples=50)
@given(CALLS)
def test_batches_keep_every_call_in_order(calls: tuple[ToolCall, ...]):
    """Nothing is dropped, doubled or moved."""
    assert calls == tuple(one for batch in guard.batches(calls) for one in batch)


@settings(deadline=None, max_examples=50)
@given(CALLS)
def test_a_changing_call_runs_alone(calls: tuple[ToolCall, ...]):
    """Side by side run only calls that change nothing."""
    alone = [len(batch) == 1 for batch in guard.batches(calls) if any(one.changing for one in batch)]

    assert all(alone)


@settings(deadline=None, max_examples=50)
@given(CALLS)
def test_reading_calls_in_a_row_share_a_batch(calls: tuple[ToolCall, ...]):
    """None waits for another: between two batches there is a change, or the first is full."""
    for before, after in pairwise(guard.batches(calls)):
        assert before[0].changing or after[0].changing or len(before) == guard.SIDE_BY_SIDE


def test_what_is_told_keeps_its_order():
    """Two phases named in one reply never begin side by side; reads go on beside either."""
    told = [
        ToolCall(tool_use_id=name, tool=name.partition("-")[0], label="", changing=False)
        for name in ("narrate-1", "grep-1", "narrate-2", "document-1", "grep-2")
    ]

    assert [["narrate-1", "grep-1"], ["narrate-2"], ["document-1", "grep-2"]] == [
        [one.tool_use_id for one in batch] for batch in guard.batches(tuple(told))
    ]


def test_only_so_many_read_side_by_side():
    """Twenty searches do not start twenty processes at once."""
    calls = tuple(call(f"{n}", changing=False) for n in range(20))

    assert [8, 8, 4] == [len(batch) for batch in guard.batches(calls)]


@settings(deadline=None, max_examples=50)
@given(CALLS, CALLS)
def test_the_window_holds_the_newest_calls(before: tuple[ToolCall, ...], now: tuple[ToolCall, ...]):
    """Turn by turn it is the tail of everything that was called."""
    window = guard.window_after(guard.window_after((), traces(before)), traces(now))

    assert traces((*before, *now))[-guard.WINDOW :] == window


def traces(calls: tuple[ToolCall, ...]) -> tuple[str, ...]:
    return tuple(guard.trace_of(one, outcome()) for one in calls)


def test_a_call_is_remembered_with_its_result():
    """A log that grows gives another trace each time; the same answer to the same call gives the same."""
    grown = [guard.trace_of(call("tail"), outcome(digest=said)) for said in ("one", "two", "two")]

    assert 2 == len(set(grown))
    assert guard.trace_of(call("tail"), outcome(digest="one")) != guard.trace_of(
        call("head"), outcome(digest="one")
    )


@pytest.mark.parametrize(
    ("digests", "loops"),
    [
        ("", False),
        ("aa", False),
        ("aaa", True),
        ("abababab", True),
        ("abcabc", False),
        ("abcdeabcde", False),
        ("abcdefghaa", True),
    ],
)
def test_three_equal_calls_in_the_window_are_a_loop(digests: str, loops: bool):  # noqa: FBT001 a table's column
    """In a row or not."""
    assert loops is guard.is_loop(tuple(digests))


def test_calls_that_left_the_window_are_forgotten():
    """The same test command after long other work is no loop."""
    assert not guard.is_loop(guard.window_after((), tuple("aa12345678901a")))


def outcome(*, is_error: bool = False, **more: object) -> ToolOutcome:
    return ToolOutcome.model_validate({"tool_use_id": "1", "is_error": is_error, **more})


def test_a_command_is_failing_until_it_passes():
    """What failed last is remembered, newest last, and no more of them than the state has room for."""
    failing = guard.failing_after((), call("test"), outcome(is_error=True))
    more = guard.failing_after(failing, call("lint"), outcome(is_error=True))

    assert ("test", "lint") == more
    assert ("lint",) == guard.failing_after(more, call("test"), outcome())
    assert more == guard.failing_after(more, call("look", changing=False), outcome(is_error=True))
    assert more == guard.failing_after(more, call("cut"), outcome(is_error=True, interrupted=True))
    for number in range(30):
        more = guard.failing_after(more, call(str(number)), outcome(is_error=True))
    assert tuple(str(number) for number in range(10, 30)) == more


def test_progress_is_a_phase_or_a_check_that_turned_green():
    """Polling, reading and writing are no proof that anything moves."""
    assert guard.is_progress((), call(), outcome(phase="Base"))
    assert not guard.is_progress((), call(), outcome(phase="Base", phase_again=True))
    assert guard.is_progress(("test",), call("test"), outcome())
    assert not guard.is_progress(("test",), call("test"), outcome(is_error=True))
    assert not guard.is_progress((), call("test"), outcome())


@pytest.mark.parametrize(
    ("spent", "told", "stall"),
    [
        (99, False, guard.Stall.NONE),
        (100, False, guard.Stall.TELL),
        (100, True, guard.Stall.NONE),
        (199, True, guard.Stall.NONE),
        (200, True, guard.Stall.STOP),
        (500, False, guard.Stall.TELL),
    ],
)
def test_money_without_progress(spent: int, told: bool, stall: guard.Stall):  # noqa: FBT001 a table's column
    """A day's allowance is told, two end the build; none is ended that was not told."""
    assert stall is guard.stall_after(spent, 100, told=told)


@pytest.mark.parametrize(("allowance", "worst_case", "most"), [(5_000, 100, 5_000), (10, 100, 4_000)])
def test_a_poor_day_is_no_stall(allowance: int, worst_case: int, most: int):
    """At the end of a cycle a day may allow a call or two: a build that spent that much has not stalled."""
    day = Balance(day=date(2026, 3, 1), allowance=allowance, worst_case=worst_case)

    assert most == guard.patience(day)


def test_without_numbers_nothing_stalls():
    """A build whose money was not read yet is not judged by it."""
    assert guard.Stall.NONE is guard.stall_after(10, guard.patience(None), told=True)
