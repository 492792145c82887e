"""Reads what receipts and quotes are made of: a build's rows of the ledger, and builds that ended READY."""

from collections.abc import Sequence

from sqlalchemy import RowMapping, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from activities.conversation import tool_uses
from activities.entries import INPUT
from activities.money_tables import MODEL, SANDBOX, ledger
from activities.prices import Usage
from activities.quotes import PastBuild, size_of
from activities.receipts import Entry, Receipt, receipt_of
from activities.tables import builds, transcript
from workflows.models import BuildPlan

PAST_BUILDS = 500
"""How many builds a quote looks back on, newest first."""
_COPIED = (
    "day", "state", "model", "price_id", "reserved", "cost", "turn", "attempt", "phase", "plan_item", "note",
    "opened_at", "kind", "microseconds",
)  # fmt: skip


async def load_receipt(engine: AsyncEngine, name: str) -> Receipt | None:
    """Give the receipt of a build by its own id, or of the newest by its workflow id; none is known: None."""
    query = (
        select(builds)
        .where(or_(builds.c.workflow_id == name, builds.c.id == name))
        .order_by(builds.c.started_at.desc(), builds.c.number.desc())
        .limit(1)
    )
    async with engine.connect() as connection:
        build = (await connection.execute(query)).mappings().one_or_none()
        if build is None:
            return None
        entries = await load_entries(connection, build["id"])
    return receipt_of(
        entries,
        build_id=build["id"],
        workflow_id=build["workflow_id"],
        project=build["project"],
        user=build["user_id"],
        status=build["status"].upper(),
        forked_from=build["forked_from"] or "",
        inherited_microdollars=build["inherited"],
        budget_microdollars=build["spend_limit"] or 0,
    )


async def load_entries(connection: AsyncConnection, build_id: str) -> Sequence[Entry]:
    """Give a build's rows of the ledger, oldest first; those that cost nothing are left out."""
    query = (
        select(ledger, transcript.c.body)
        .outerjoin(transcript, ledger.c.reply_id == transcript.c.id)
        .where(ledger.c.build_id == build_id, ledger.c.state != "released")
        .order_by(ledger.c.id)
    )
    return [_entry(row) for row in (await connection.execute(query)).mappings()]


async def load_past(engine: AsyncEngine) -> Sequence[PastBuild]:
    """Give the newest builds that ended READY and what each came to."""
    spent = func.sum(ledger.c.cost)
    time = func.coalesce(spent.filter(ledger.c.kind == SANDBOX), 0)
    turns = func.count().filter(ledger.c.state == "settled", ledger.c.kind == MODEL)
    days = func.count(ledger.c.day.distinct()).filter(ledger.c.kind == MODEL)
    query = (
        select(
            builds.c.plan,
            spent.label("spent"),
            time.label("sandbox"),
            turns.label("turns"),
            days.label("days"),
        )
        .join(ledger, ledger.c.build_id == builds.c.id)
        # A fork's own money is not what a plan costs.
        .where(
            builds.c.status == "ready",
            builds.c.forked_from.is_(None),
            ledger.c.state.in_(("settled", "lost")),
        )
        .group_by(builds.c.id)
        .order_by(builds.c.finished_at.desc())
        .limit(PAST_BUILDS)
    )
    async with engine.connect() as connection:
        return [_past(row) for row in (await connection.execute(query)).mappings()]


def _entry(row: RowMapping) -> Entry:
    body = row["body"]
    return Entry(
        **{name: row[name] for name in _COPIED},
        usage=Usage(**{name: row[name] for name in (*INPUT, "output_tokens")}),
        tools=tuple(str(block["name"]) for block in tool_uses(body)) if body else (),
    )


def _past(row: RowMapping) -> PastBuild:
    phases, items = size_of(BuildPlan.model_validate(row["plan"]))
    return PastBuild(
        phases=phases,
        items=items,
        spent=int(row["spent"]),
        sandbox=int(row["sandbox"]),
        turns=row["turns"],
        days=row["days"],
    )
