"""How long a provider asks to be left alone, read from its answer's headers. Knows no vendor."""

import email.utils
from datetime import UTC, datetime, timedelta
from typing import Any

LONGEST_DELAY = timedelta(minutes=5)
"""The longest that is obeyed; then the provider is asked again."""


def retry_after(error: BaseException) -> timedelta | None:
    """Give how long the provider asks to be left alone, capped; none: the retry policy decides."""
    headers: Any = getattr(getattr(error, "response", None), "headers", None)
    if not hasattr(headers, "get"):
        return None
    seconds = _seconds(headers.get("retry-after-ms"), scale=1000) or _seconds(headers.get("retry-after"))
    if seconds is None or seconds <= 0:
        return None
    return min(timedelta(seconds=seconds), LONGEST_DELAY)


def _seconds(value: str | None, *, scale: int = 1) -> float | None:
    if not value:
        return None
    try:
        return float(value) / scale
    except ValueError:
        pass
    try:
        at = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return (at - datetime.now(UTC)).total_seconds() if at.tzinfo else None
