import io

import pytest
from rich.console import Console

from activities.receipts import Receipt, receipt_of
from starter.money import exact, plan_of, print_receipt
from starter.requests import UnusableRequest


@pytest.mark.parametrize(
    ("microdollars", "shown"),
    [(0, "$0.000000"), (1, "$0.000001"), (-1_500_000, "-$1.500000"), (12_000_034, "$12.000034")],
)
def test_dollars_are_shown_to_the_microdollar(microdollars: int, shown: str):
    """A column must add up to what stands under it."""
    assert shown == exact(microdollars)


def test_an_empty_receipt_is_printed():
    """A build that has spent nothing has one too."""
    told = io.StringIO()
    empty: Receipt = receipt_of([], workflow_id="mine", status="CODE")
    print_receipt(empty, Console(file=told, width=100))

    assert "mine: CODE, spent $0.000000" in told.getvalue()
    assert "by phase" in told.getvalue()


def test_a_plan_that_is_none_is_refused():
    """The word names the field."""
    with pytest.raises(UnusableRequest, match=r"build_plan\.phases"):
        plan_of({"build_plan": {"phases": 3}})
