import random
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflows import budget
from workflows.state import Stage
from workflows.texts import dollars
from workflows.turns import Balance

DAY = date(2026, 3, 1)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MONEY = st.integers(0, 10**12)
ORDER = list(Stage)


def day(allowance: int = 1_000_000, *, settled: int = 0, worst_case: int = 0, **more: int) -> Balance:
    return Balance(day=DAY, allowance=allowance, settled=settled, worst_case=worst_case, **more)


@pytest.mark.parametrize(
    ("numbers", "left"), [({}, 100), ({"settled": 30, "reserved": 20, "lost": 10}, 40), ({"settled": 170}, 0)]
)
def test_what_is_left_of_a_day_is_never_negative(numbers: dict[str, int], left: int):
    """Settled, reserved and lost all count; an overrun leaves nothing."""
    assert left == day(100, **numbers).left


@pytest.mark.parametrize(("left", "calls"), [(0, 0), (99, 0), (100, 1), (199, 1), (1_000_000, 10_000)])
def test_calls_left_are_whole_calls_at_the_worst_price(left: int, calls: int):
    """A part of a call buys nothing."""
    assert calls == budget.calls_left(day(settled=1_000_000 - left, worst_case=100))


def test_a_price_of_nothing_never_ends_a_day():
    """Before the first call no price is known."""
    assert Stage.NORMAL is budget.stage_of(day(worst_case=0))


def test_reserved_and_lost_money_is_spent():
    """What another build holds, or a crash lost, cannot be spent again."""
    balance = day(settled=100_000, reserved=200_000, lost=300_000, worst_case=100_000)

    assert 60 == budget.share_spent(balance)
    assert 4 == budget.calls_left(balance)


def test_no_allowance_is_all_spent():
    """A day without money is over; nothing is divided by it."""
    assert 100 == budget.share_spent(day(0))
    assert Stage.WINDING_DOWN is budget.stage_of(day(0))


@pytest.mark.parametrize(
    ("calls", "stage"),
    [
        (9, Stage.NORMAL),
        (8, Stage.TOLD),
        (4, Stage.TOLD),
        (3, Stage.WINDING_DOWN),
        (0, Stage.WINDING_DOWN),
    ],
)
def test_the_stage_follows_the_calls_left(calls: int, stage: Stage):
    """At 8 the model is told, at 3 it winds down, however little of the day is spent."""
    assert stage is budget.stage_of(day(calls * 100, worst_case=100))


@pytest.mark.parametrize(
    ("share", "stage"),
    [
        (79, Stage.NORMAL),
        (80, Stage.TOLD),
        (89, Stage.TOLD),
        (90, Stage.WINDING_DOWN),
        (120, Stage.WINDING_DOWN),
    ],
)
def test_the_stage_follows_the_share_spent(share: int, stage: Stage):
    """At 80 % the model is told, at 90 % it winds down, however many calls still fit."""
    assert stage is budget.stage_of(day(settled=share * 10_000, worst_case=1))


@settings(deadline=None)
@given(allowance=MONEY, worst_case=MONEY, spent=st.lists(MONEY, min_size=2))
def test_a_day_only_ever_goes_on(allowance: int, worst_case: int, spent: list[int]):
    """As settled grows the stage never goes back."""
    days = (day(allowance, settled=settled, worst_case=worst_case) for settled in sorted(spent))
    stages = [ORDER.index(budget.stage_of(one)) for one in days]

    assert sorted(stages) == stages


@settings(deadline=None)
@given(allowance=MONEY, worst_case=MONEY, spent=st.lists(MONEY, min_size=1))
def test_a_day_tells_each_stage_once(allowance: int, worst_case: int, spent: list[int]):
    """Notes come on reaching a later stage only: two a day at most, in the end what the stage is."""
    days = [day(allowance, settled=settled, worst_case=worst_case) for settled in sorted(spent)]
    stages = [Stage.NORMAL, *(budget.stage_of(one) for one in days)]
    notes = [budget.note_for(before, one) for before, one in zip(stages, days, strict=False)]

    assert [now != before for before, now in pairwise(stages)] == [bool(note) for note in notes]
    assert all(note.startswith("[allowance] ") for note in notes if note)


def test_a_note_says_what_is_left_and_what_to_do():
    """The model can act on it without knowing our rules."""
    told = budget.note_for(Stage.NORMAL, day(settled=810_000, worst_case=10_000))
    last = budget.note_for(Stage.TOLD, day(settled=980_000, worst_case=10_000))

    assert "81 %" in told
    assert "about 19 more calls" in told
    assert "about 2 more calls" in last
    assert "go on tomorrow" in last


def test_more_money_is_not_told():
    """A raised allowance leads back to an earlier stage without a word."""
    assert "" == budget.note_for(Stage.WINDING_DOWN, day(worst_case=1))


def test_sleep_ends_at_the_next_midnight():
    """Exactly then, to the microsecond."""
    midnight = datetime(2026, 3, 2, tzinfo=UTC)

    assert timedelta(hours=12) == budget.sleep_for(NOON, midnight)


def test_an_unknown_midnight_is_looked_for_again():
    """A balance without one is no reason to sleep for ever, or not at all."""
    assert timedelta(hours=1) == budget.sleep_for(NOON, None)


@given(st.integers(0, 10**6), st.floats(0, 1, exclude_max=True), st.timedeltas(timedelta(0), timedelta(31)))
def test_those_of_one_midnight_wake_one_after_the_other(sleepers: int, chance: float, sleep: timedelta):
    """None before midnight, five a second, two minutes at least, and nobody waits half as long again."""
    midnight = NOON + sleep
    balance = Balance(day=DAY, allowance=0, wakes_at=midnight, sleepers=sleepers)
    late = budget.wake_time(NOON, balance, chance) - max(midnight, NOON + budget.SHORTEST_SLEEP)

    assert timedelta(0) <= late <= max(sleep, budget.SHORTEST_SLEEP) / 2
    assert late <= max(timedelta(minutes=2), timedelta(seconds=sleepers / 5))


@pytest.mark.parametrize(
    ("sleepers", "seconds"), [(0, 0), (1, 120), (600, 120), (601, 120.2), (10_000, 2_000)]
)
def test_how_far_apart_they_wake(sleepers: int, seconds: float):
    """An old balance counted nobody: such a build wakes at midnight, as it was told."""
    balance = Balance(day=DAY, allowance=0, wakes_at=NOON + timedelta(hours=12), sleepers=sleepers)
    apart = budget.wake_time(NOON, balance, 0.5) - budget.wake_time(NOON, balance, 0.0)

    assert seconds / 2 == apart.total_seconds()


def test_a_crowd_wakes_as_evenly_as_a_few():
    """Each draws for itself: of a user's many builds and another's few, half wake in the window's half."""
    balance = Balance(day=DAY, allowance=0, wakes_at=NOON + timedelta(hours=12), sleepers=10_000)
    chance = random.Random(1)
    half = budget.wake_time(NOON, balance, 0.5)
    for builds in (2_000, 200):
        early = sum(budget.wake_time(NOON, balance, chance.random()) < half for _ in range(builds))
        assert 0.4 < early / builds < 0.6


@settings(deadline=None)
@given(st.datetimes(timezones=st.just(UTC)))
def test_no_sleep_is_a_busy_loop(wakes_at: datetime):
    """A midnight that has passed is slept on for a moment: the next look may still find the old day."""
    assert budget.SHORTEST_SLEEP <= budget.sleep_for(NOON, wakes_at)


@pytest.mark.parametrize(
    ("microdollars", "shown"),
    [
        (0, "$0.00"),
        (1_250_000, "$1.25"),
        (10_000, "$0.01"),
        (9_000, "$0.0090"),
        (100, "$0.0001"),
        (4_000_000, "$4.00"),
    ],
)
def test_dollars_are_shown_as_people_read_them(microdollars: int, shown: str):
    """Cents, and four places below a cent."""
    assert shown == dollars(microdollars)
