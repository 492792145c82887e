"""A model that nobody serves any more is not offered, by whatever name it is asked for."""

from datetime import date

import pytest
from anthropic.resources.messages import DEPRECATED_MODELS

from activities.lifecycles import is_offered, offered_models
from activities.prices import priced_as

TODAY = date(2026, 11, 26)


@pytest.mark.parametrize(
    "model", ["claude-sonnet-5-5", "claude-haiku-4-5-20251001", "claude-opus-5", "claude-sonnet-4-5"]
)
def test_models_in_service_are_offered(model: str):
    """By a snapshot's name too, and until the day on which they are retired."""
    assert is_offered(model, on=TODAY)


@pytest.mark.parametrize(
    "model",
    [
        "claude-2",
        "claude-2.1",
        "claude-v1",
        "claude-3-opus-latest",
        "claude-3-5-sonnet-20241022",
        "gpt-5",
        "",
    ],
)
def test_retired_and_unknown_models_are_not(model: str):
    """Though the price list still prices some of them, for old receipts."""
    assert not is_offered(model, on=TODAY)


def test_a_model_leaves_on_its_last_day():
    """What is deprecated today is refused from its date on, under each of its names."""
    for name in ("claude-sonnet-4-5", "claude-sonnet-4-5-20250929"):
        assert [True, False] == [is_offered(name, on=date(2026, 11, day)) for day in (29, 30)]


def test_what_is_listed_can_be_chosen():
    """Each model of the list is offered and priced; no deprecated one is left once its last day is past."""
    assert all(is_offered(each, on=TODAY) and priced_as(each) for each in offered_models(TODAY))
    assert not set(DEPRECATED_MODELS) & set(offered_models(date(2100, 1, 1)))
