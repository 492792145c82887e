"""Prices are whole microdollars, rounded up, and the worst case is never beaten."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.prices import (
    Lifetime,
    UnpricedModel,
    Usage,
    affordable_tokens,
    price_of,
    priced_as,
    worst_case,
)

SONNET = "claude-sonnet-5-5"
TOKENS = st.integers(0, 1_000_000)


def test_input_holds_what_the_cache_gave_and_took():
    """All input is counted once: uncached, read and written tokens each at their own rate."""
    usage = Usage(input_tokens=1_000, cache_read_tokens=500, cache_write_tokens=300, output_tokens=10)

    # 200 at $2, 500 at $0.10, 300 at $2.50, 10 at $10, a million tokens.
    assert price_of(SONNET, usage, at=None).microdollars == 400 + 50 + 750 + 100


def test_what_lives_an_hour_costs_more():
    """Of what is written, the part that lives an hour has its own rate: twice the input's."""
    usage = Usage(input_tokens=1_000, cache_write_tokens=1_000, cache_write_1h_tokens=400)

    # 600 at $2.50 and 400 at $4 a million tokens.
    assert price_of(SONNET, usage, at=None).microdollars == 1_500 + 1_600


def test_fractions_are_rounded_up():
    """Part of a microdollar is a whole one."""
    assert price_of(SONNET, Usage(input_tokens=1, cache_read_tokens=1), at=None).microdollars == 1


def test_price_id_names_model_and_list():
    """A ledger row can be priced again from its price id."""
    price_id = price_of(SONNET, Usage(output_tokens=1), at=None).price_id

    assert price_id.startswith("anthropic/claude-sonnet-5-5@genai-prices-")


def test_unknown_model_has_no_price():
    """A model without a price cannot be held inside an allowance."""
    with pytest.raises(UnpricedModel, match="claude-unheard-of"):
        priced_as("claude-unheard-of")
    with pytest.raises(UnpricedModel, match="claude-unheard-of"):
        price_of("claude-unheard-of", Usage(input_tokens=1), at=None)


@given(st.sampled_from([SONNET, "claude-haiku-5-5", "claude-opus-5-5"]), TOKENS, TOKENS, TOKENS, st.data())
def test_worst_case_covers_every_split(model: str, tokens: int, read: int, written: int, data: st.DataObject):
    """However the input is cached and however much comes out, no call costs more than its worst case.

    Only a call that writes for an hour may use that rate.
    """
    lifetime = data.draw(st.sampled_from(["5m", "1h"]))
    read = min(read, tokens)
    written = min(written, tokens - read)
    output = data.draw(st.integers(0, 16_000))
    usage = Usage(
        input_tokens=tokens,
        cache_read_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=data.draw(st.integers(0, written)) if lifetime == "1h" else 0,
        output_tokens=output,
    )

    worst = worst_case(model, input_tokens=tokens, max_tokens=16_000, at=None, lifetime=lifetime).microdollars

    assert price_of(model, usage, at=None).microdollars <= worst


@given(st.integers(0, 200_000), st.integers(1, 1_000_000), st.sampled_from(["5m", "1h"]))
def test_affordable_tokens_fit(tokens: int, within: int, lifetime: Lifetime):
    """A shrunk ceiling always fits the money it was made for, and nearly uses it up."""
    ceiling = affordable_tokens(
        SONNET, input_tokens=tokens, max_tokens=16_000, within=within, at=None, lifetime=lifetime
    )

    if ceiling > 0:
        worst = worst_case(
            SONNET, input_tokens=tokens, max_tokens=ceiling, at=None, lifetime=lifetime
        ).microdollars
        assert worst <= within
        assert ceiling == 16_000 or within - worst <= 40
