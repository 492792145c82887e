"""E2B's listing: which records a query names, in which order, a page at a time. Holds no state."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, unquote

from starter.local.sandbox.records import Record

LARGEST_PAGE = 100


def page_of(records: Iterable[Record], query: Any) -> tuple[list[Record], str | None]:
    """Return the page of the records that a query asks for, and the token of the next one."""
    is_descending = query.get("order") == "desc"
    found = [record for record in records if _matches(record, query)]
    found.sort(key=_order, reverse=is_descending)
    limit = min(int(query.get("limit") or LARGEST_PAGE), LARGEST_PAGE)
    rest = _after(found, query.get("nextToken"), is_descending=is_descending)
    return rest[:limit], _token(rest[limit - 1]) if len(rest) > limit else None


def _matches(record: Record, query: Any) -> bool:
    pairs = [(unquote(name), unquote(value)) for name, value in parse_qsl(query.get("metadata", ""))]
    after = query.get("startedAfter")
    return (
        all(record.metadata.get(name) == value for name, value in pairs)
        and record.state in query.get("state", record.state).split(",")
        and query.get("template", record.template_id) == record.template_id
        and (after is None or record.started_at > datetime.fromisoformat(after))
    )


def _order(record: Record) -> tuple[datetime, str]:
    return record.started_at, record.sandbox_id


def _token(record: Record) -> str:
    return f"{record.started_at.isoformat()}_{record.sandbox_id}"


def _after(records: list[Record], token: str | None, *, is_descending: bool) -> list[Record]:
    # A place in the order, not a count: sandboxes come and go between two pages.
    if token is None:
        return records
    time, _, sandbox_id = token.partition("_")
    place = (datetime.fromisoformat(time), sandbox_id)
    return [
        record for record in records if (_order(record) < place if is_descending else _order(record) > place)
    ]
