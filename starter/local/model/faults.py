"""Faults on demand: what goes wrong with which request, set over HTTP by tests; knows no content."""

import asyncio
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from starter.local.model.errors import ApiError

Kind = Literal[
    "rate_limit",
    "overloaded",
    "server_error",
    "spend_limit",
    "no_credit",
    "billing",
    "tier_limit",
    "contract_limit",
    "revoked_key",
    "no_permission",
    "too_large",
    "over_limit",
    "page",
    "cut",
    "disconnect",
    "sse_error",
    "sse_billing",
    "sse_revoked_key",
    "sse_no_permission",
    "sse_untyped",
    "sse_garbage",
    "stray_delta",
    "unclosed",
    "slow_start",
    "slow_stream",
    "malformed",
    "refusal",
]

_STATUS = {
    "rate_limit": (429, "rate_limit_error", "This request would exceed your organization's rate limit."),
    "overloaded": (529, "overloaded_error", "Overloaded"),
    "server_error": (500, "api_error", "Internal server error"),
    "spend_limit": (400, "invalid_request_error", "You have reached your specified API usage limits."),
    "no_credit": (400, "invalid_request_error", "Your credit balance is too low to access the Claude API."),
    "billing": (402, "billing_error", "There is a problem with the billing of your organization."),
    "tier_limit": (429, "rate_limit_error", "You have reached the monthly spend limit of your tier."),
    "contract_limit": (429, "rate_limit_error", "You have reached the spend limit of your contract."),
    "revoked_key": (401, "authentication_error", "invalid x-api-key"),
    "no_permission": (403, "permission_error", "Your API key has no permission to use this model."),
    "too_large": (413, "request_too_large", "Request exceeds the maximum size"),
    "over_limit": (
        400,
        "invalid_request_error",
        "input length and `max_tokens` exceed context limit: 190000 + 16000 > 200000",
    ),
}
_CODES = {"tier_limit": "enforced_spend_limit_reached", "contract_limit": "contract_spend_limit_reached"}


class Fault(BaseModel):
    """One thing that goes wrong."""

    model_config = ConfigDict(extra="forbid")

    kind: Kind
    times: Annotated[int, Field(ge=1)] = 1
    """How many requests it hits."""
    after: Annotated[int, Field(ge=0)] = 0
    """How many requests pass unharmed first."""
    seconds: Annotated[float, Field(ge=0)] = 1.0
    """The retry-after (rate_limit), or the wait before headers (slow_start) or events (slow_stream)."""
    after_events: int | None = None
    """Events sent before a stream breaks; half of them by default."""


class Hold(BaseModel):
    """A stream that stops after some events until it is released."""

    model_config = ConfigDict(extra="forbid")

    after_events: int = 3
    """Events sent first; below zero: all but so many."""
    times: Annotated[int, Field(ge=1)] = 1
    """How many streams are held."""
    after: Annotated[int, Field(ge=0)] = 0
    """How many streams pass unheld first."""
    ping_seconds: Annotated[float, Field(gt=0)] | None = None
    """Send a ping this often while held."""


class Faults:
    """The faults still to come, taken in order, one a request."""

    def __init__(self) -> None:
        self._pending: list[Fault] = []

    def set(self, faults: list[Fault]) -> None:
        """Replace the faults."""
        self._pending = list(faults)

    def pending(self) -> list[Fault]:
        """Return the faults that have not been used up."""
        return list(self._pending)

    def take(self) -> Fault | None:
        """Return the fault that hits this request and count it."""
        due = next((fault for fault in self._pending if fault.after == 0), None)
        self._pending = [self._counted(fault, due) for fault in self._pending]
        self._pending = [fault for fault in self._pending if fault.times > 0]
        return due

    def _counted(self, fault: Fault, due: Fault | None) -> Fault:
        if fault is due:
            return fault.model_copy(update={"times": fault.times - 1})
        return fault.model_copy(update={"after": max(0, fault.after - 1)})


class Gate:
    """Holds streams midway until a test releases them."""

    def __init__(self) -> None:
        self._hold: Hold | None = None
        self._released = asyncio.Event()
        self.waiting = 0
        """Streams that stand still now."""

    def close(self, hold: Hold) -> None:
        """Hold the next streams."""
        self._hold = hold
        self._released.clear()

    def release(self) -> None:
        """Let every held stream go on, and hold no more."""
        self._hold = None
        self._released.set()

    def take(self) -> Hold | None:
        """Return the hold on this stream, and count it."""
        hold = self._hold
        if hold is None:
            return None
        if hold.after > 0:
            self._hold = hold.model_copy(update={"after": hold.after - 1})
            return None
        self._hold = hold.model_copy(update={"times": hold.times - 1}) if hold.times > 1 else None
        return hold

    async def wait(self, seconds: float | None) -> bool:
        """Wait until released, at most so long; true when released."""
        self.waiting += 1
        try:
            await asyncio.wait_for(self._released.wait(), seconds)
        except TimeoutError:
            return False
        finally:
            self.waiting -= 1
        return True


def refusal_of(fault: Fault | None) -> ApiError | None:
    """Return the error status that the fault answers with, if it is of that sort."""
    if fault is None or fault.kind not in _STATUS:
        return None
    status, kind, message = _STATUS[fault.kind]
    headers = {"retry-after": f"{fault.seconds:g}"} if fault.kind == "rate_limit" else {}
    return ApiError(status, kind=kind, message=message, code=_CODES.get(fault.kind, ""), headers=headers)
