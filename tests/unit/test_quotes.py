import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.quotes import NEAREST, PastBuild, Range, percentile, quote_for, similar
from workflows.models import BuildPlan, PlanPhase


def plan(phases: int, items: int = 2) -> BuildPlan:
    """A plan of so many phases with so many items each."""
    return BuildPlan(phases=tuple(PlanPhase(name=str(n), items=("x",) * items) for n in range(phases)))


def past(phases: int, *, items: int = 4, spent: int = 10, turns: int = 5, days: int = 1) -> PastBuild:
    """A build that ended READY."""
    return PastBuild(phases=phases, items=items, spent=spent, turns=turns, days=days)


@pytest.mark.parametrize("builds", [0, 1, 2])
def test_a_quote_needs_three_builds(builds: int):
    """Two builds are no history, however alike."""
    assert quote_for(plan(2), [past(2)] * builds) is None


def test_a_quote_tells_the_middle_and_what_nine_in_ten_stayed_within():
    """Of money, turns and days, and how many builds it is from."""
    told = quote_for(plan(2), [past(2, spent=n * 100, turns=n, days=n // 5 + 1) for n in range(1, 11)])

    assert told is not None
    assert 10 == told.builds
    assert Range(median=500, high=900) == told.spent_microdollars
    assert Range(median=5, high=9) == told.turns
    assert Range(median=2, high=2) == told.days


def test_similar_plans_have_as_many_phases_give_or_take_one():
    """The others are left out while three are alike."""
    alike = [past(2), past(3), past(4)]

    assert alike == similar(plan(3), [past(1), *alike, past(5)])


def test_where_too_few_are_alike_the_nearest_by_items_are_taken():
    """A bounded number of them, nearest first."""
    known = [past(9, items=items) for items in range(30)]
    chosen = similar(plan(3, items=4), known)

    assert NEAREST == len(chosen)
    assert 12 == chosen[0].items
    assert set(range(7, 18)) >= {build.items for build in chosen}


@given(st.lists(st.integers(0, 10**12), min_size=1), st.integers(1, 100))
def test_a_percentile_is_a_value_that_enough_do_not_exceed(values: list[int], percent: int):
    """And no smaller value is."""
    found = percentile(values, percent)

    assert found in values
    assert sum(value <= found for value in values) * 100 >= percent * len(values)
    assert sum(value < found for value in values) * 100 < percent * len(values)
