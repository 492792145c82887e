"""Which models can still be had, as the vendor's client and the price list know them. Reads no clock.

The client is imported late: it takes a second, for which commands that ask for no model need not wait.
"""

from datetime import date, datetime
from functools import cache
from typing import get_args

from activities.prices import UnpricedModel, priced_as


def is_offered(model: str, *, on: date) -> bool:
    """Tell whether a model has a price, is known to the vendor's client and is not retired on a day.

    Known is also another name of such a model, as one with the date of a snapshot.
    """
    try:
        name = priced_as(model)
    except UnpricedModel:
        return False
    return not _is_over(model, on) and name in {priced_as(each) for each in offered_models(on)}


def offered_models(on: date) -> list[str]:
    """Give the ids of the models that can be had on a day, by name."""
    return [name for name in _known() if not _is_over(name, on)]


@cache
def _known() -> tuple[str, ...]:
    """What the vendor's client names and the price list prices."""
    from anthropic.types import Model

    named = {name for part in get_args(Model) for name in get_args(part)}
    return tuple(sorted(name for name in named if _is_priced(name)))


def _is_priced(model: str) -> bool:
    try:
        return bool(priced_as(model))
    except UnpricedModel:
        return False


def _is_over(model: str, on: date) -> bool:
    return model in (last := _last_days()) and last[model] <= on


@cache
def _last_days() -> dict[str, date]:
    """When each deprecated model is retired, which the client keeps as a text such as `July 21st, 2025`."""
    from anthropic.resources.messages import DEPRECATED_MODELS

    return {name: _date(text) for name, text in DEPRECATED_MODELS.items()}


def _date(text: str) -> date:
    month, day, year = text.replace(",", "").split()
    return datetime.strptime(f"{month} {day.rstrip('stndrh')} {year}", "%B %d %Y").date()  # noqa: DTZ007 no time
