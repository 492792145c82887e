"""The oracle sees sandbox time that is charged twice, or that no mark explains."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.chaos.charges import Charges, Mark, judge_time

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
SECOND = 1_000_000


def mark(change: int, was: int | None, now: int | None, *, sandbox: str = "build 1") -> Mark:
    first, second = (None if at is None else NOON + timedelta(seconds=at) for at in (was, now))
    return Mark(change, sandbox, first, second)


BEGUN, BOOKED, ENDED = mark(1, None, 0), mark(2, 0, 10), mark(2, 10, None)


def test_time_that_is_booked_once():
    """Each stretch of a sandbox's run is in the ledger once, and several sandboxes may run at once."""
    marks = [BEGUN, BOOKED, ENDED, mark(3, None, 20), mark(4, 20, 25), mark(4, 0, 5, sandbox="check 2")]

    assert [] == list(judge_time(Charges(marks, [(2, 10 * SECOND), (4, 10 * SECOND)]), 20 * SECOND))


def test_time_that_was_not_run_is_not_booked():
    """A mark that is set anew moves on and books nothing."""
    marks = [BEGUN, mark(3, 0, 60), mark(4, 60, 70)]

    assert [] == list(judge_time(Charges(marks, [(4, 10 * SECOND)]), 10 * SECOND))


@pytest.mark.parametrize(
    ("marks", "booked", "held", "said"),
    [
        ([BEGUN, BOOKED, mark(3, 5, 15)], [(2, 10 * SECOND), (3, 10 * SECOND)], 20, "charged twice"),
        ([BEGUN, BOOKED], [(2, 11 * SECOND)], 11, "moved by 10000000"),
        ([BEGUN, BOOKED], [(2, 10 * SECOND), (3, SECOND)], 11, "moved by 0"),
        ([BEGUN, BOOKED], [(2, 10 * SECOND)], 12, "the ledger holds 12000000"),
    ],
)
def test_time_that_is_booked_twice_or_without_reason(marks, booked, held, said):
    """An overlap, more than ran, none that ran, or a ledger that was written otherwise."""
    found = list(judge_time(Charges(marks, booked), held * SECOND))

    assert 1 == len(found)
    assert said in found[0]
