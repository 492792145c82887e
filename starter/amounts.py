"""What an admin types, made into values: money, numbers, dates, time zones. Pure; never a float."""

import re
from collections.abc import Sequence
from datetime import date
from difflib import get_close_matches
from zoneinfo import available_timezones

from starter.requests import UnusableRequest
from workflows.budget import MOST_ADDED

MICRODOLLARS = 1_000_000
"""In a dollar."""
DECIMALS = 6
"""A microdollar is the smallest amount."""
MOST = 1_000_000
"""The highest limit that can be set."""
PLAN = "plan"
"""Typed where the plan's own value is to hold again."""
_AMOUNT = re.compile(r"\$?([0-9]+)(?:\.([0-9]+))?", re.ASCII)


def microdollars_of(text: str) -> int:
    """Read dollars exactly; raises UnusableRequest."""
    if text.startswith("-"):
        raise UnusableRequest(f"AMOUNT: {text} is below zero. Give dollars above zero, e.g. 5 or 0.25.")
    if (found := _AMOUNT.fullmatch(text)) is None:
        raise UnusableRequest(f"AMOUNT: {text!r} is no amount. Give dollars, e.g. 5 or 0.25.")
    whole, decimals = found[1], found[2] or ""
    if len(decimals) > DECIMALS:
        raise UnusableRequest(
            f"AMOUNT: {text} has {len(decimals)} decimals. Give at most {DECIMALS}: "
            "a microdollar, 0.000001, is the smallest amount."
        )
    if len(whole.lstrip("0")) > len(str(MOST_ADDED)):
        raise _too_much(text[:20])
    amount = int(whole) * MICRODOLLARS + int(decimals.ljust(DECIMALS, "0"))
    if amount == 0:
        raise UnusableRequest(
            "AMOUNT: 0 is nothing. Give dollars above zero; to stop a user, `suspend` them."
        )
    if amount > MOST_ADDED:
        raise _too_much(text)
    return amount


def _too_much(text: str) -> UnusableRequest:
    return UnusableRequest(f"AMOUNT: {text} is above {exact(MOST_ADDED)}, the most. Was a point forgotten?")


def exact(microdollars: int, *, places: int = 2) -> str:
    """Show every microdollar, and so many decimals at least: `$5.00`, `-$0.000001`."""
    sign, amount = "-" if microdollars < 0 else "", abs(microdollars)
    decimals = f"{amount % MICRODOLLARS:0{DECIMALS}}".rstrip("0").ljust(places, "0")
    return f"{sign}${amount // MICRODOLLARS}.{decimals}"


def limit_of(text: str) -> int:
    """Read a limit of builds or calls; raises UnusableRequest."""
    number = int(text) if re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) else 0
    if not 1 <= number <= MOST:
        raise UnusableRequest(f"NUMBER: {text[:20]!r} is no whole number from 1 to {MOST}.")
    return number


def renewal_of(text: str, *, today: date) -> date:
    """Read the day on which the plan renews; raises UnusableRequest for one that has passed."""
    try:
        found = date.fromisoformat(text)
    except ValueError:
        raise UnusableRequest(f"DATE: {text!r} is no date. Give YYYY-MM-DD, e.g. {today}.") from None
    if found < today:
        raise UnusableRequest(f"DATE: {found} is past. Give {today}, today, or a later day.")
    return found


def zone_of(text: str) -> str:
    """Check the name of a time zone; raises UnusableRequest, naming those that are written alike."""
    known = available_timezones()
    if text in known:
        return text
    alike = get_close_matches(text, sorted(known), n=5, cutoff=0.5)
    raise UnusableRequest(
        f"ZONE: there is no time zone {text!r}. Give an IANA name, e.g. "
        f"{', '.join(alike or ['Europe/Berlin', 'UTC'])}."
    )


def one_of(text: str, known: Sequence[str], *, what: str) -> str:
    """Check a name; raises UnusableRequest with the list."""
    if text in known:
        return text
    raise UnusableRequest(f"{what}: {text!r} is not known. Choose one of: {', '.join(known)}.")
