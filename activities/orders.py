"""The words between the model and the ledger: what is asked for, and what comes of it. Values only."""

from dataclasses import dataclass
from datetime import datetime

from activities.prices import Lifetime, Usage
from activities.rows import Row
from workflows.turns import Balance, Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A reply somebody wants to buy."""

    build_id: str
    user: str
    model: str
    parent: Row
    """The row that the question follows; the question itself when `question` is empty."""
    question: str
    """JSON text of the user message to append."""
    input_tokens: int
    """The most that the request can hold."""
    max_tokens: int
    at: datetime
    """Server time of the activity."""
    lifetime: Lifetime = "5m"
    """Of what the call writes to the cache."""
    turn: int = 0
    attempt: int = 0
    """Of the activity; a later one was made because an earlier one failed."""
    phase: str = ""
    """As the model last named it."""
    plan_item: str = ""
    """Of that phase, as the model last named it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Money set aside for one reply."""

    id: int
    message_id: int
    """Transcript row of the question."""
    build_id: str
    epoch: int
    input: Usage
    """The dearest that its input can be."""
    max_tokens: int
    """Output ceiling that the money covers."""
    lifetime: Lifetime = "5m"
    """Of what the call writes to the cache, as it is paid for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bought:
    """The question already has a reply."""

    reply_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """No money was set aside."""

    reason: Refusal
    balance: Balance


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A whole reply, as it came."""

    body: str
    """JSON text of its content."""
    usage: Usage
    stop_reason: str
    request_id: str
    why_refused: str = ""
    """Why the model declined, in the provider's words."""
