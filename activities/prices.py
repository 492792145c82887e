"""What model calls cost, in integer microdollars, rounded up. Offline; knows no user and no ledger."""

import math
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from importlib.metadata import version
from typing import Literal, TypeAlias

from genai_prices import Usage as PricedUsage
from genai_prices import calc_price
from genai_prices.types import PriceCalculation

PROVIDER = "anthropic"
Lifetime: TypeAlias = Literal["5m", "1h"]
"""How long what a call writes to the cache lives; the longer is the dearer write."""
_DATA = f"genai-prices-{version('genai-prices')}"


class UnpricedModel(Exception):
    """No price is known for this model, so its cost cannot be held inside an allowance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one call; `input_tokens` is all input, what the cache gave and took included."""

    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    """Of both lifetimes."""
    cache_write_1h_tokens: int = 0
    """The part of them that lives an hour."""
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Price:
    """What a call costs, and by which price list."""

    microdollars: int
    price_id: str


def priced_as(model: str) -> str:
    """Give the name under which the price list keeps a model, one for all its ids; raises UnpricedModel."""
    return _calculate(model, PricedUsage(input_tokens=1), at=None).model.id


def price_of(model: str, usage: Usage, *, at: datetime | None) -> Price:
    """Price a call made at this time; raises UnpricedModel."""
    counted = PricedUsage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
    )
    found = _calculate(model, counted, at=at)
    return Price(_microdollars(found.total_price), f"{found.provider.id}/{found.model.id}@{_DATA}")


def worst_case(
    model: str, *, input_tokens: int, max_tokens: int, at: datetime | None, lifetime: Lifetime = "5m"
) -> Price:
    """Price the dearest way a call can go: all input written to the cache, all output used."""
    return price_of(model, replace(dearest(input_tokens, lifetime), output_tokens=max_tokens), at=at)


def dearest(input_tokens: int, lifetime: Lifetime) -> Usage:
    """Give the dearest way that an input can be used: all of it is written to the cache."""
    return Usage(
        input_tokens=input_tokens,
        cache_write_tokens=input_tokens,
        cache_write_1h_tokens=input_tokens if lifetime == "1h" else 0,
    )


def context_ceiling(model: str, *, money: int, max_tokens: int, at: datetime | None) -> int:
    """Give the most input tokens that a call should hold: what the model takes, and what `money` buys."""
    million = worst_case(model, input_tokens=1_000_000, max_tokens=0, at=at).microdollars
    window = _calculate(model, PricedUsage(input_tokens=1), at=at).model.context_window
    return min((window or 200_000) - max_tokens, money * 1_000_000 // max(1, million))


def affordable_tokens(
    model: str,
    *,
    input_tokens: int,
    max_tokens: int,
    within: int,
    at: datetime | None,
    lifetime: Lifetime = "5m",
) -> int:
    """Give the largest output ceiling up to `max_tokens` whose worst case fits; zero or less: none does."""
    bare, full = (
        worst_case(model, input_tokens=input_tokens, max_tokens=most, at=at, lifetime=lifetime).microdollars
        for most in (0, max_tokens)
    )
    if full <= within:
        return max_tokens
    # One token less than the share: both ends were rounded up.
    return (within - bare) * max_tokens // max(1, full - bare) - 1


def _calculate(model: str, usage: PricedUsage, *, at: datetime | None) -> PriceCalculation:
    try:
        return calc_price(usage, model_ref=model, provider_id=PROVIDER, genai_request_timestamp=at)
    except LookupError:
        raise UnpricedModel(
            f"No price is known for the model {model!r}. Choose another, or update genai-prices."
        ) from None


def _microdollars(dollars: Decimal) -> int:
    return math.ceil(dollars * 1_000_000)
