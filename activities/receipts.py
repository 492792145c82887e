"""What a build cost by phase, plan item, tool and day; each way of telling it comes to the same sum. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from activities.money_tables import MODEL, SANDBOX
from activities.prices import UnpricedModel, Usage, price_of
from workflows.payload import Payload
from workflows.state import NO_PHASE

THINKING = "thinking"
"""Stands for a tool where a reply called none."""
NO_ITEM = "no item named"
"""Stands for an item of the plan where the model named none."""
LOST = "lost attempts"
"""Stands for a tool where no reply came."""
SANDBOX_TIME = "sandbox time"
"""Stands for a tool where it was the sandbox that was paid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A row of the ledger, with the tools that its reply called."""

    day: date
    state: str
    """settled, lost (paid for and not used), reserved (open)."""
    model: str
    price_id: str
    reserved: int
    """Set aside at first, microdollars."""
    cost: int
    """Microdollars; zero while open."""
    usage: Usage
    turn: int
    attempt: int
    phase: str
    plan_item: str
    note: str
    """Why it was lost."""
    opened_at: datetime
    tools: tuple[str, ...] = ()
    kind: str = MODEL
    """model, sandbox (time that was used), ahead (time that is set aside)."""
    microseconds: int = 0
    """Of sandbox time."""


class Share(Payload):
    """A part of what a build cost."""

    name: str
    times: int
    """Model calls; of a tool: its calls. Sandbox time counts as none."""
    microdollars: int


class TimeUsed(Payload):
    """What sandboxes cost on a day of a phase."""

    day: date
    phase: str
    seconds: float
    microdollars: int


class Waste(Payload):
    """An attempt that was paid for and gave no reply."""

    day: date
    turn: int
    attempt: int
    phase: str
    why: str
    microdollars: int


class Receipt(Payload):
    """What a build cost until now. Each of the lists of shares comes to `spent_microdollars`."""

    build_id: str = ""
    workflow_id: str = ""
    project: str = ""
    user: str = ""
    status: str = ""
    forked_from: str = ""
    """Of a fork: the build that it goes on from."""
    inherited_microdollars: int = 0
    """Of a fork: what the conversation had cost up to there; no part of what is spent."""
    budget_microdollars: int = 0
    """What it may spend in all; 0: no limit but the days' own."""
    spent_microdollars: int
    """Settled and lost."""
    lost_microdollars: int
    """The part of it that bought nothing."""
    open_microdollars: int
    """Set aside for a call under way and the sandbox time after it; no part of what is spent."""
    sandbox_microdollars: int
    """The part of what is spent that was sandbox time."""
    cache_savings_microdollars: int
    """What the cached input would have cost uncached, less what it cost; below zero: caching cost more."""
    input_tokens: int
    """All input, cache included."""
    cache_write_5m_tokens: int
    cache_write_1h_tokens: int
    cache_read_tokens: int
    output_tokens: int
    by_phase: tuple[Share, ...]
    by_item: tuple[Share, ...] = ()
    """By phase and item of the plan."""
    by_tool: tuple[Share, ...]
    by_day: tuple[Share, ...]
    by_price: tuple[Share, ...]
    """By model and price list."""
    sandbox_time: tuple[TimeUsed, ...]
    """Comes to `sandbox_microdollars`."""
    waste: tuple[Waste, ...]


def receipt_of(entries: Sequence[Entry], **about: Any) -> Receipt:
    """Add up a build's rows; `about` are the fields that tell of the build itself."""
    paid = [entry for entry in entries if entry.state in ("settled", "lost")]
    lost = [entry for entry in paid if entry.state == "lost"]
    time = [entry for entry in paid if entry.kind == SANDBOX]
    writes, hour_writes = _tokens(paid, "cache_write_tokens"), _tokens(paid, "cache_write_1h_tokens")
    return Receipt(
        **about,
        spent_microdollars=sum(entry.cost for entry in paid),
        lost_microdollars=sum(entry.cost for entry in lost),
        open_microdollars=sum(entry.reserved for entry in entries if entry.state == "reserved"),
        sandbox_microdollars=sum(entry.cost for entry in time),
        cache_savings_microdollars=sum(saved_by_cache(entry) for entry in paid if entry.state == "settled"),
        input_tokens=_tokens(paid, "input_tokens"),
        cache_write_5m_tokens=writes - hour_writes,
        cache_write_1h_tokens=hour_writes,
        cache_read_tokens=_tokens(paid, "cache_read_tokens"),
        output_tokens=_tokens(paid, "output_tokens"),
        by_phase=_shares((entry, entry.phase or NO_PHASE, entry.cost) for entry in paid),
        by_item=_shares((entry, item_of(entry), entry.cost) for entry in paid),
        by_tool=_shares((entry, *part) for entry in paid for part in by_tool(entry)),
        by_day=_shares((entry, entry.day.isoformat(), entry.cost) for entry in paid),
        by_price=_shares((entry, entry.price_id, entry.cost) for entry in paid),
        sandbox_time=tuple(_time(entry) for entry in time),
        waste=tuple(_waste(entry) for entry in lost),
    )


def item_of(entry: Entry) -> str:
    """Name what of the plan was worked on."""
    return f"{entry.phase or NO_PHASE}: {entry.plan_item or NO_ITEM}"


def by_tool(entry: Entry) -> list[tuple[str, int]]:
    """Share a reply's cost over the tools it called: whole microdollars each, the rest to the first.

    The cost is that of the reply, so this tells what the model was paid to do, not what a tool itself cost;
    a reply that called none is `thinking`.
    """
    if entry.kind == SANDBOX:
        return [(SANDBOX_TIME, entry.cost)]
    if entry.state == "lost":
        return [(LOST, entry.cost)]
    tools = entry.tools or (THINKING,)
    share, rest = divmod(entry.cost, len(tools))
    return [(tool, share + (0 if n else rest)) for n, tool in enumerate(tools)]


def saved_by_cache(entry: Entry) -> int:
    """Give what cache reads would cost as plain input, less what they cost, less the premium of writes."""
    if entry.kind != MODEL:
        return 0
    plain = replace(entry.usage, cache_read_tokens=0, cache_write_tokens=0, cache_write_1h_tokens=0)
    try:
        uncached, cached = (
            price_of(entry.model, usage, at=entry.opened_at) for usage in (plain, entry.usage)
        )
    except UnpricedModel:  # it was priced when it was called, and is not any more
        return 0
    return uncached.microdollars - cached.microdollars


def _shares(parts: Iterable[tuple[Entry, str, int]]) -> tuple[Share, ...]:
    money, times = Counter[str](), Counter[str]()
    for entry, name, microdollars in parts:
        money[name] += microdollars
        times[name] += entry.kind == MODEL
    return tuple(Share(name=name, times=times[name], microdollars=money[name]) for name in money)


def _time(entry: Entry) -> TimeUsed:
    return TimeUsed(
        day=entry.day,
        phase=entry.phase or NO_PHASE,
        seconds=entry.microseconds / 1_000_000,
        microdollars=entry.cost,
    )


def _waste(entry: Entry) -> Waste:
    return Waste(
        day=entry.day,
        turn=entry.turn,
        attempt=entry.attempt,
        phase=entry.phase,
        why=entry.note,
        microdollars=entry.cost,
    )


def _tokens(entries: Sequence[Entry], name: str) -> int:
    return sum(getattr(entry.usage, name) for entry in entries)
