"""Days and cycles follow the user's own calendar."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import available_timezones

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from activities.billing_cycle import (
    LONGEST_CYCLE,
    Cycle,
    cycle_of,
    daily_allowance,
    local_day,
    midnight_of,
    next_midnight,
    next_working_day,
)


@pytest.mark.parametrize(
    ("timezone", "day"),
    [("UTC", 23), ("Asia/Tokyo", 24), ("America/Los_Angeles", 23), ("Nowhere/Atall", 23)],
)
def test_day_is_local(timezone: str, day: int):
    """The same moment is another day elsewhere; an unknown zone counts as UTC."""
    assert local_day(datetime(2026, 11, 23, 20, tzinfo=UTC), timezone=timezone) == date(2026, 11, day)


@pytest.mark.parametrize(
    ("day", "timezone", "expected"),
    [
        (date(2026, 11, 23), "UTC", datetime(2026, 11, 24, tzinfo=UTC)),
        (date(2026, 10, 24), "Europe/Berlin", datetime(2026, 10, 24, 22, tzinfo=UTC)),
        (date(2026, 10, 25), "Europe/Berlin", datetime(2026, 10, 25, 23, tzinfo=UTC)),
        (date(2026, 12, 31), "Asia/Kolkata", datetime(2026, 12, 31, 18, 30, tzinfo=UTC)),
    ],
)
def test_midnight_is_local_and_knows_summer_time(day: date, timezone: str, expected: datetime):
    """A day ends at the user's midnight, 23 or 25 hours after it began where clocks change."""
    assert next_midnight(day, timezone=timezone) == expected


@pytest.mark.parametrize(
    ("day", "renews_on", "expected"),
    [
        (date(2026, 11, 23), None, Cycle(date(2026, 11, 1), date(2026, 12, 1))),
        (date(2026, 12, 31), None, Cycle(date(2026, 12, 1), date(2027, 1, 1))),
        (date(2026, 11, 23), date(2026, 12, 15), Cycle(date(2026, 11, 15), date(2026, 12, 15))),
        (date(2026, 11, 14), date(2026, 12, 15), Cycle(date(2026, 10, 15), date(2026, 11, 15))),
        (date(2026, 11, 15), date(2020, 1, 15), Cycle(date(2026, 11, 15), date(2026, 12, 15))),
        (date(2027, 2, 10), date(2026, 1, 31), Cycle(date(2027, 1, 31), date(2027, 2, 28))),
        (date(2027, 1, 3), date(2026, 1, 31), Cycle(date(2026, 12, 31), date(2027, 1, 31))),
    ],
)
def test_cycle_holds_the_day(day: date, renews_on: date | None, expected: Cycle):
    """A cycle runs from one renewal to the next; a 31st falls on the last day of a short month."""
    assert cycle_of(day, renews_on=renews_on) == expected


@pytest.mark.parametrize(
    ("spent", "days_left", "expected"),
    [(0, 30, 1_000_000), (29_000_000, 1, 1_000_000), (31_000_000, 5, 0), (0, 0, 30_000_000)],
)
def test_allowance_shares_out_what_is_left(spent: int, days_left: int, expected: int):
    """The rest of a cycle is shared over its days, never below zero."""
    assert daily_allowance(cycle_budget=30_000_000, spent=spent, days_left=days_left) == expected


@pytest.mark.parametrize(
    ("day", "renewal", "left", "needed", "expected"),
    [
        (date(2026, 11, 23), date(2026, 12, 1), 5_000_000, 40_000, date(2026, 11, 24)),
        (date(2026, 11, 23), date(2026, 12, 1), 0, 40_000, date(2026, 12, 1)),
        (date(2026, 11, 23), date(2026, 12, 1), -9, 40_000, date(2026, 12, 1)),
        (date(2026, 11, 23), date(2026, 12, 1), 39_999, 40_000, date(2026, 12, 1)),
        (date(2026, 11, 23), date(2026, 12, 1), 120_000, 40_000, date(2026, 11, 28)),
        (date(2026, 11, 30), date(2026, 12, 1), 0, 0, date(2026, 12, 1)),
        (date(2028, 2, 10), date(2028, 2, 29), 0, 1, date(2028, 2, 29)),
        (date(2028, 2, 10), date(2028, 3, 1), 40_000, 40_000, date(2028, 2, 29)),
        (date(2026, 12, 1), date(2027, 1, 1), 10**15, 0, date(2026, 12, 2)),
    ],
)
def test_an_exhausted_cycle_sleeps_until_a_day_that_pays(day, renewal, left, needed, expected):
    """Not each midnight for nothing: to the first day whose share pays for a call, else to the renewal."""
    assert expected == next_working_day(day, renewal=renewal, left=left, needed=needed)


@given(
    day=st.dates(date(2024, 1, 1), date(2030, 1, 1)),
    renews_on=st.none() | st.dates(date(2024, 1, 1), date(2030, 1, 1)),
    left=st.integers(-1_000, 10**9),
    needed=st.integers(1, 10**7),
)
def test_no_day_before_could_have_paid(day, renews_on, left, needed):
    """Each day slept through had too small a share; the one that it wakes on has enough, or renews."""
    renewal = cycle_of(day, renews_on=renews_on).renewal

    def pays(on: date) -> bool:
        return daily_allowance(cycle_budget=left, spent=0, days_left=(renewal - on).days) >= needed

    awake = next_working_day(day, renewal=renewal, left=left, needed=needed)
    slept = [day + timedelta(days=n) for n in range(1, (awake - day).days)]

    assert day < awake <= renewal
    assert not any(pays(each) for each in slept)
    assert awake == renewal or pays(awake)


@pytest.mark.parametrize(
    ("day", "timezone", "expected"),
    [
        (date(2027, 1, 1), "Pacific/Kiritimati", datetime(2026, 12, 31, 10, tzinfo=UTC)),
        (date(2027, 1, 1), "Etc/GMT+12", datetime(2027, 1, 1, 12, tzinfo=UTC)),
        (date(2026, 3, 1), "America/New_York", datetime(2026, 3, 1, 5, tzinfo=UTC)),
        (date(2026, 11, 2), "America/New_York", datetime(2026, 11, 2, 5, tzinfo=UTC)),
        (date(2026, 9, 6), "America/Santiago", datetime(2026, 9, 6, 4, tzinfo=UTC)),
    ],
)
def test_a_day_begins_at_its_local_midnight(day: date, timezone: str, expected: datetime):
    """From +14 to -12, in summer and winter; where clocks skip midnight, at the moment they do."""
    assert expected == midnight_of(day, timezone=timezone)


ZONES = sorted(available_timezones())
DAYS = st.dates(date(2000, 1, 1), date(2037, 12, 30))


@given(zone=st.sampled_from(ZONES), day=DAYS)
@example(zone="America/Sao_Paulo", day=date(2018, 11, 4))
@example(zone="Asia/Beirut", day=date(2027, 3, 28))
@example(zone="Africa/Cairo", day=date(2027, 4, 30))
@example(zone="America/Havana", day=date(2027, 11, 7))
@example(zone="Pacific/Apia", day=date(2011, 12, 30))
def test_a_midnight_is_where_the_day_changes(zone: str, day: date):
    """Just before it is an earlier day, from it on this one, or the next where a zone left this one out."""
    midnight = midnight_of(day, timezone=zone)
    left_out = local_day(midnight, timezone=zone) > day

    assert local_day(midnight - timedelta(microseconds=1), timezone=zone) < day
    assert local_day(midnight, timezone=zone) in ((day + timedelta(days=1),) if left_out else (day,))
    assert (
        midnight <= next_midnight(day, timezone=zone) == midnight_of(day + timedelta(days=1), timezone=zone)
    )
    assert next_midnight(day, timezone=zone) - midnight <= timedelta(hours=26)
    assert left_out == (next_midnight(day, timezone=zone) == midnight)


@given(day=DAYS, renews_on=st.none() | st.dates(date(2000, 1, 1), date(2037, 12, 31)))
@example(day=date(2028, 2, 29), renews_on=date(2026, 1, 29))
@example(day=date(2027, 2, 28), renews_on=date(2026, 1, 29))
@example(day=date(2028, 2, 29), renews_on=date(2026, 1, 30))
@example(day=date(2027, 2, 28), renews_on=date(2026, 1, 31))
@example(day=date(2028, 3, 1), renews_on=date(2028, 2, 29))
def test_cycles_follow_each_other_without_a_gap(day: date, renews_on: date | None):
    """Each day is in one; it renews on its day of the month, or on the last where there is no such day."""
    cycle = cycle_of(day, renews_on=renews_on)
    anchor = renews_on.day if renews_on else 1
    last = (cycle.renewal.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)

    assert cycle.start <= day < cycle.renewal
    assert cycle == cycle_of(cycle.start, renews_on=renews_on)
    assert cycle.renewal == cycle_of(cycle.renewal, renews_on=renews_on).start
    assert cycle.start == cycle_of(cycle.start - timedelta(days=1), renews_on=renews_on).renewal
    assert min(anchor, last.day) == cycle.renewal.day
    assert 28 <= (cycle.renewal - cycle.start).days <= LONGEST_CYCLE


@given(
    begin=DAYS,
    renews_on=st.none() | st.dates(date(2024, 1, 1), date(2030, 1, 1)),
    budget=st.integers(0, 10**9),
    shares=st.lists(st.integers(0, 100), min_size=31, max_size=31),
)
def test_a_cycle_never_gives_more_than_its_budget(begin, renews_on, budget, shares):
    """Whatever share of each day is spent; who spends every day all of it has spent the whole budget."""
    cycle, spent = cycle_of(begin, renews_on=renews_on), 0
    for day in range((cycle.renewal - cycle.start).days):
        left = (cycle.renewal - cycle.start).days - day
        spent += daily_allowance(cycle_budget=budget, spent=spent, days_left=left) * shares[day] // 100

    assert spent <= budget
    assert spent == budget or min(shares[: (cycle.renewal - cycle.start).days]) < 100
