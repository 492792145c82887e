"""Days and billing cycles of a user: pure functions of dates. Reads no clock and no row."""

import calendar
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DECEMBER = 12
LONGEST_CYCLE = 31
"""Days."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cycle:
    """A billing month: from `start` up to, not including, `renewal`."""

    start: date
    renewal: date


def zone(name: str) -> ZoneInfo:
    """Give the time zone; an unknown one counts as UTC, so that a typo in a row stops no build."""
    if is_zone(name):
        return ZoneInfo(name)
    log.warning("There is no time zone %r; UTC is used.", name)
    return ZoneInfo("UTC")


def is_zone(name: str) -> bool:
    """Tell whether there is such a time zone."""
    try:
        return bool(ZoneInfo(name))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False


def local_day(at: datetime, *, timezone: str) -> date:
    """Give the user's day at a moment."""
    return at.astimezone(zone(timezone)).date()


def midnight_of(day: date, *, timezone: str) -> datetime:
    """Give the moment, in UTC, at which a day of the user begins."""
    return datetime.combine(day, time(), zone(timezone)).astimezone(UTC)


def next_midnight(day: date, *, timezone: str) -> datetime:
    """Give the moment, in UTC, at which the user's day after `day` begins."""
    return midnight_of(day + timedelta(days=1), timezone=timezone)


def by_day(start: datetime, end: datetime, *, timezone: str) -> Iterator[tuple[date, timedelta]]:
    """Share a stretch of time over the user's days."""
    while start < end:
        day = local_day(start, timezone=timezone)
        midnight = next_midnight(day, timezone=timezone)
        # Where the clock is set back over midnight, a day's midnight comes twice.
        until = min(end, midnight) if midnight > start else end
        yield day, until - start
        start = until


def next_working_day(day: date, *, renewal: date, left: int, needed: int) -> date:
    """Give the first day after `day` whose share of what is left of the cycle pays for a call.

    The share grows as the days that it is kept for pass; where it never suffices, the cycle's renewal.
    """
    days = max(0, left) // max(1, needed)
    return min(renewal, max(day + timedelta(days=1), renewal - timedelta(days=min(days, LONGEST_CYCLE))))


def cycle_of(day: date, *, renews_on: date | None) -> Cycle:
    """Give the cycle that holds `day`; without a renewal date cycles are calendar months.

    A renewal on the 31st falls on the last day of a shorter month.
    """
    anchor = renews_on.day if renews_on else 1
    this_month = _on(day.year, day.month, anchor)
    if day < this_month:
        return Cycle(_on(*_previous(day.year, day.month), anchor), this_month)
    return Cycle(this_month, _on(*_next(day.year, day.month), anchor))


def daily_allowance(*, cycle_budget: int, spent: int, days_left: int) -> int:
    """Share out what is left of a cycle over its days left; microdollars."""
    return max(0, cycle_budget - spent) // max(1, days_left)


def _on(year: int, month: int, day: int) -> date:
    return date(year, month, min(day, calendar.monthrange(year, month)[1]))


def _previous(year: int, month: int) -> tuple[int, int]:
    return (year, month - 1) if month > 1 else (year - 1, DECEMBER)


def _next(year: int, month: int) -> tuple[int, int]:
    return (year, month + 1) if month < DECEMBER else (year + 1, 1)
