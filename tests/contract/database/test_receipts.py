"""A receipt tells the ledger's money, whichever way it is broken down."""

import json
import uuid
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, insert, select, update

from activities.money_tables import ledger
from activities.prices import Usage, price_of
from activities.quotes import PastBuild
from activities.receipt_rows import load_past, load_receipt
from activities.receipts import LOST, THINKING, Receipt
from activities.tables import builds
from workflows.models import FinishBuild, PreparedBuild
from workflows.state import NO_PHASE
from workflows.turns import ModelCall

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
MODEL = "claude-sonnet-5-5"
BREAKDOWNS = ("by_phase", "by_item", "by_tool", "by_day", "by_price")


def usage(total: int, cached: int, written: int, hour: int, output: int) -> Usage:
    """Tokens whose parts do not exceed their wholes."""
    read = min(total, cached)
    writes = min(total - read, written)
    return Usage(
        input_tokens=total,
        cache_read_tokens=read,
        cache_write_tokens=writes,
        cache_write_1h_tokens=min(writes, hour),
        output_tokens=output,
    )


tokens = st.integers(0, 300_000)
rows = st.fixed_dictionaries(
    {
        "state": st.sampled_from(["settled", "lost", "released"]),
        "cost": st.integers(0, 10**9),
        "phase": st.sampled_from(["", "1: shell", "2: polish"]),
        "days": st.integers(0, 3),
        "tools": st.lists(st.sampled_from(["bash", "read_file", "narrate"]), max_size=4),
        "usage": st.builds(usage, tokens, tokens, tokens, tokens, tokens),
    }
)


async def write_row(desk: Any, build: PreparedBuild, row: dict[str, Any]) -> None:
    """Write a row of the ledger with its question and, if it was settled, its reply."""
    async with desk.engine.begin() as connection:

        async def say(role: str, parent: int, content: list[dict[str, Any]]) -> int:
            body = json.dumps([*content, {"type": "text", "text": uuid.uuid4().hex}])
            return await desk.transcript.append(
                connection, build_id=build.build_id, parent_id=parent, role=role, body=body
            )

        question = await say("user", build.head, [])
        calls = [{"type": "tool_use", "id": str(n), "name": name} for n, name in enumerate(row["tools"])]
        settled = row["state"] == "settled"
        used = row["usage"]
        await connection.execute(
            insert(ledger).values(
                build_id=build.build_id,
                user_id=build.user,
                day=NOON.date() + timedelta(days=row["days"]),
                message_id=question,
                reply_id=await say("assistant", question, calls) if settled else None,
                state=row["state"],
                model=MODEL,
                price_id="a price",
                reserved=row["cost"],
                cost=0 if row["state"] in ("released", "reserved") else row["cost"],
                phase=row["phase"],
                opened_at=NOON,
                note=row.get("note", ""),
                turn=row.get("turn", 0),
                attempt=row.get("attempt", 0),
                **{name: getattr(used, name) for name in Usage.__slots__},
            )
        )


def row(state: str = "settled", **more: Any) -> dict[str, Any]:
    """A row of the ledger, plain unless said otherwise."""
    plain = {"state": state, "cost": 10, "phase": "", "days": 0, "tools": [], "usage": Usage()}
    return plain | more


async def receipt_of(desk: Any, build: PreparedBuild, *written: dict[str, Any]) -> Receipt:
    """Write rows and read the receipt."""
    for each in written:
        await write_row(desk, build, each)
    found = await load_receipt(desk.engine, build.build_id)
    assert found is not None
    return found


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(written=st.lists(rows, max_size=12), set_aside=st.none() | st.integers(0, 10**9))
async def test_every_breakdown_comes_to_the_ledger(desk, written, set_aside):
    """To the microdollar, whatever the rows; money of an open call stands apart."""
    build = await desk.prepare()
    still_open = [] if set_aside is None else [row("reserved", cost=set_aside)]
    receipt = await receipt_of(desk, build, *written, *still_open)
    async with desk.engine.connect() as connection:
        spent = await connection.execute(
            select(func.coalesce(func.sum(ledger.c.cost), 0)).filter_by(build_id=build.build_id)
        )
        assert receipt.spent_microdollars == spent.scalar_one()

    balance = await desk.ledger.balance(desk.user, at=NOON, build_id=build.build_id)
    assert receipt.spent_microdollars == balance.build_spent
    assert receipt.open_microdollars == (set_aside or 0)
    assert receipt.lost_microdollars == sum(waste.microdollars for waste in receipt.waste)
    for name in BREAKDOWNS:
        assert receipt.spent_microdollars == sum(share.microdollars for share in getattr(receipt, name)), name


async def test_a_reply_is_shared_over_the_tools_it_called(desk):
    """Whole microdollars each and the rest to the first; no tool is thinking, no reply is lost."""
    build = await desk.prepare()
    receipt = await receipt_of(
        desk,
        build,
        row(cost=11, tools=["bash", "read_file", "bash"]),
        row(cost=5),
        row("lost", cost=7),
    )

    found = [(share.name, share.times, share.microdollars) for share in receipt.by_tool]
    assert found == [("bash", 2, 5 + 3), ("read_file", 1, 3), (THINKING, 1, 5), (LOST, 1, 7)]


async def test_waste_is_told_with_its_reason(desk):
    """When, at which turn and attempt, in which phase and why; a released attempt is no waste."""
    build = await desk.prepare()
    lost = row("lost", cost=7, turn=3, attempt=2, phase="1: shell", note="cut off by ReadTimeout")
    receipt = await receipt_of(desk, build, row("released"), lost)
    (waste,) = receipt.waste

    assert (date(2026, 11, 23), 3, 2) == (waste.day, waste.turn, waste.attempt)
    assert ("1: shell", "cut off by ReadTimeout", 7) == (waste.phase, waste.why, waste.microdollars)


async def test_cache_savings_are_net_of_what_the_writes_cost(desk):
    """Reads at the plain price less what they cost, less the premium of the writes; it may be below zero."""
    build = await desk.prepare()
    read = Usage(input_tokens=100_000, cache_read_tokens=100_000)
    written = Usage(input_tokens=50_000, cache_write_tokens=50_000, cache_write_1h_tokens=20_000)
    first = await receipt_of(desk, build, row(usage=written))
    both = await receipt_of(desk, build, row(usage=read))

    def cost(used: Usage) -> int:
        return price_of(MODEL, used, at=NOON).microdollars

    premium = cost(written) - cost(Usage(input_tokens=50_000))
    assert first.cache_savings_microdollars == -premium < 0
    assert both.cache_savings_microdollars == cost(Usage(input_tokens=100_000)) - cost(read) - premium > 0
    assert (both.cache_write_5m_tokens, both.cache_write_1h_tokens) == (30_000, 20_000)


async def test_a_call_is_booked_with_where_it_was_made(desk):
    """By turn, attempt, phase and item of the plan; the receipt adds up by each."""
    build = await desk.prepare()
    call = ModelCall(
        build_id=build.build_id, user=build.user, model=build.model, head=build.head, turn=4,
        phase="1: shell", plan_item="a page",
    )  # fmt: skip
    await desk.run(desk.model.call_model, call, attempt=3)
    (entry,) = await desk.entries(build.build_id)
    receipt = await load_receipt(desk.engine, build.build_id)

    assert receipt is not None
    assert [("1: shell: a page", entry["cost"])] == [(one.name, one.microdollars) for one in receipt.by_item]
    assert (4, 3, "1: shell", "a page") == (
        entry["turn"], entry["attempt"], entry["phase"], entry["plan_item"],
    )  # fmt: skip


async def test_a_workflow_id_leads_to_its_newest_run(desk):
    """A build that ran twice under one id is told of as it ran last; its own id leads to each."""
    old, new = await desk.prepare(), await desk.prepare(at=NOON + timedelta(hours=1))
    async with desk.engine.begin() as connection:
        for hours, build in enumerate((old, new)):
            values = {"workflow_id": f"again-{desk.user}", "started_at": NOON + timedelta(hours=hours)}
            await connection.execute(update(builds).filter_by(id=build.build_id).values(values))
    newest = await load_receipt(desk.engine, f"again-{desk.user}")
    first = await load_receipt(desk.engine, old.build_id)

    assert newest is not None
    assert first is not None
    assert (new.build_id, old.build_id) == (newest.build_id, first.build_id)
    assert await load_receipt(desk.engine, "never-started") is None


async def test_a_build_that_has_spent_nothing_has_an_empty_receipt(desk):
    """Nothing is divided by nothing."""
    build = await desk.prepare()
    receipt = await receipt_of(desk, build)

    assert (0, ()) == (receipt.spent_microdollars, receipt.by_phase)


@pytest.mark.parametrize(("status", "known"), [("ready", 1), ("failed", 0)])
async def test_only_builds_that_ended_ready_are_history(desk, status, known):
    """With what was lost, the replies that were bought and the days on which money went."""
    plan = {"phases": [{"name": "shell", "items": ["a", "b"]}, {"name": "polish", "items": ["c"]}]}
    build = await desk.prepare(build_plan=plan)
    money = 1_000_000 + uuid.uuid4().int % 10**9
    await receipt_of(
        desk, build, row(cost=money), row(cost=1, days=2), row("lost", cost=2), row("released", days=3)
    )
    ended = FinishBuild(build_id=build.build_id, status=status, outcome="completed")
    await desk.run(desk.builds.finish_build, ended)
    expected = PastBuild(phases=2, items=3, spent=money + 3, turns=2, days=2)

    assert known == list(await load_past(desk.engine)).count(expected)


async def test_the_phase_before_any_has_a_name(desk):
    """A row without a phase is told of in words."""
    build = await desk.prepare()
    receipt = await receipt_of(desk, build, row())

    assert [NO_PHASE] == [share.name for share in receipt.by_phase]
