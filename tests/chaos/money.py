"""The rules of a build's money: nothing open, nothing bought or charged twice, the sums equal."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.chaos.records import Records

AT_ONCE_SECONDS = 0.5
"""Within that time a request is sent that was on its way as its worker stood still."""


def settled_replies(records: Records) -> list[Any]:
    """Give the rows of the ledger that are replies bought."""
    return [row for row in records.ledger if (row.kind, row.state) == ("model", "settled")]


def doubled(records: Records) -> int:
    """Count the replies that were paid for twice."""
    settled = settled_replies(records)
    return len(settled) - len({row.message_id for row in settled})


def sandbox_cost(records: Records) -> int:
    """Add up what sandbox time cost, microdollars."""
    return sum(row.cost for row in records.ledger if row.kind == "sandbox")


def judge_money(records: Records) -> Iterator[str]:
    """Nothing is open, each reply was bought once, and the build's sum is that of its own rows."""
    states = Counter(row.state for row in records.ledger)
    if states["reserved"]:
        yield f"{states['reserved']} reservations are open"
    settled = settled_replies(records)
    messages, replies = {row.message_id for row in settled}, {row.reply_id for row in settled}
    if not len(settled) == len(messages) == len(replies) == records.replies:
        yield f"{records.replies} replies, bought in {len(settled)} settled rows for {len(messages)} messages"
    spent = sum(row.cost for row in records.ledger if row.state in ("settled", "lost"))
    if records.build.spent != spent:
        yield f"the build's row says {records.build.spent} were spent, its ledger {spent}"
    if others := sum(not row.is_own for row in records.ledger):
        yield f"{others} rows of its ledger are for messages of another build"
    if records.build.inherited != records.inherited:
        told = f"its row says that {records.build.inherited} were inherited"
        yield f"{told}, the ledgers of others {records.inherited}"


def judge_requests(
    records: Records, journal: Sequence[Mapping], woken: Sequence[float] = ()
) -> Iterator[str]:
    """No conversation was sent again once its reply had been settled.

    But by a worker that stood still between its last look and the request, and went on at one of `woken`,
    seconds since the epoch: nothing can keep that one back, and what it cost must be in the ledger.
    """
    digests = [json.dumps(entry["digests"]) for entry in journal]
    sent = {entry["request_id"]: place for place, entry in enumerate(journal)}
    last = {digest: place for place, digest in enumerate(digests)}
    for row in settled_replies(records):
        if row.request_id not in sent:
            yield f"reply {row.reply_id} was settled; the provider knows no request {row.request_id!r}"
            continue
        place = sent[row.request_id]
        again = last[digests[place]]
        if again > place and not (_is_woken(journal[again], woken) and _is_paid(records, row.message_id)):
            yield f"reply {row.reply_id} was bought by request {place} and again by {again}"


def _is_woken(entry: Mapping, woken: Sequence[float]) -> bool:
    """Tell whether a request was sent just as a worker went on that had stood still."""
    return any(0 <= entry["at"] - moment <= AT_ONCE_SECONDS for moment in woken)


def _is_paid(records: Records, message_id: int) -> bool:
    """Tell whether the ledger holds a lost attempt at a message."""
    return any((row.state, row.message_id) == ("lost", message_id) for row in records.ledger)
