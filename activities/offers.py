"""What a call to the model may give within the money that is left. Pure."""

from activities.orders import Order
from activities.prices import affordable_tokens, worst_case

MIN_TOKENS = 2_000
"""The smallest output ceiling that a reply is still worth buying with, tokens."""


def offer(order: Order, left: int) -> tuple[int, int, str]:
    """Give the output ceiling, its worst price and price id: what fits, else the smallest worth having.

    `left` and the price are microdollars.
    """
    smallest = min(MIN_TOKENS, order.max_tokens)
    fitting = affordable_tokens(
        order.model,
        input_tokens=order.input_tokens,
        max_tokens=order.max_tokens,
        within=left,
        at=order.at,
        lifetime=order.lifetime,
    )
    tokens = max(smallest, fitting)
    price = worst_case(
        order.model,
        input_tokens=order.input_tokens,
        max_tokens=tokens,
        at=order.at,
        lifetime=order.lifetime,
    )
    return tokens, price.microdollars, price.price_id
