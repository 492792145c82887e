"""What an admin types is read exactly, or refused with the field and the fix."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starter.admin import known_model
from starter.amounts import exact, limit_of, microdollars_of, one_of, renewal_of, zone_of
from starter.requests import UnusableRequest
from workflows.budget import MOST_ADDED

TODAY = date(2026, 11, 23)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5", 5_000_000),
        ("$5", 5_000_000),
        ("0.25", 250_000),
        ("0.1", 100_000),
        ("0.000001", 1),
        ("007.50", 7_500_000),
        ("1000000", MOST_ADDED),
    ],
)
def test_dollars_are_read_to_the_microdollar(text: str, expected: int):
    """No float comes near them."""
    assert expected == microdollars_of(text)


@given(st.integers(1, MOST_ADDED))
def test_shown_money_is_read_back(amount: int):
    """Every amount, exactly."""
    assert amount == microdollars_of(exact(amount))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("-5", "below zero"),
        ("0", "is nothing"),
        ("0.000000", "is nothing"),
        ("0.0000001", "7 decimals"),
        ("5.0000000", "7 decimals"),
        ("1000000.000001", "the most"),
        ("9" * 5_000, "the most"),
        ("", "no amount"),
        ("five", "no amount"),
        ("1e3", "no amount"),
        ("1,000", "no amount"),
        ("NaN", "no amount"),
        ("5.", "no amount"),
        ("\N{ARABIC-INDIC DIGIT FIVE}", "no amount"),
    ],
)
def test_wrong_amounts_say_why(text: str, word: str):
    """Negative, zero, too precise, huge, no number."""
    with pytest.raises(UnusableRequest, match=word) as caught:
        microdollars_of(text)

    assert str(caught.value).startswith("AMOUNT: ")


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", "", "9999999999", "1000001"])
def test_wrong_limits_are_refused(text: str):
    """A limit is a whole number above zero."""
    with pytest.raises(UnusableRequest, match="NUMBER: "):
        limit_of(text)


@pytest.mark.parametrize(
    ("text", "word"), [("2026-11-22", "is past"), ("soon", "no date"), ("2026-02-30", "no date")]
)
def test_a_renewal_is_a_day_to_come(text: str, word: str):
    """One that has passed is refused, today is taken."""
    with pytest.raises(UnusableRequest, match=word):
        renewal_of(text, today=TODAY)

    assert TODAY == renewal_of("2026-11-23", today=TODAY)


@pytest.mark.parametrize("text", ["Europe/Berlim", "", "../etc/passwd", "Mars/Olympus"])
def test_an_unknown_zone_is_refused(text: str):
    """With names that are written alike."""
    with pytest.raises(UnusableRequest, match="ZONE: there is no time zone"):
        zone_of(text)

    assert "Europe/Berlin" == zone_of("Europe/Berlin")


def test_unknown_names_come_with_the_list():
    """Whoever mistypes a plan or a model reads which there are."""
    with pytest.raises(UnusableRequest, match=r"TIER: 'gold' is not known\. Choose one of: a, b\."):
        one_of("gold", ["a", "b"], what="TIER")
    with pytest.raises(UnusableRequest, match=r"'claude-2' is retired or not known.*claude-sonnet-5-5"):
        known_model("claude-2", on=date(2026, 11, 23))

    assert "claude-haiku-5-5" == known_model("claude-haiku-5-5", on=date(2026, 11, 23))
