"""What a build cost, and what one would probably cost: read from the database, no build is touched."""

from argparse import Namespace
from functools import partial

from pydantic import JsonValue, ValidationError
from rich.console import Console
from rich.table import Table

from activities.quotes import FEWEST, Quote, quote_for
from activities.receipt_rows import load_past, load_receipt
from activities.receipts import Receipt, Share
from starter import amounts
from starter.attach import attach
from starter.commands import say_command
from starter.requests import UnusableRequest, read_request
from starter.rows import open_rows
from workflows.models import BuildPlan

exact = partial(amounts.exact, places=amounts.DECIMALS)
"""Dollars to the microdollar, so that a column adds up to what stands under it."""


async def receipt(given: Namespace, console: Console) -> int:
    """Print what a build cost, by phase, plan item, tool and day."""
    _, environment = await attach()
    async with open_rows(environment) as engine:
        found = await load_receipt(engine, given.id)
    if found is None:
        raise UnusableRequest(
            f"No build {given.id!r} is known: give a workflow id or a build id. "
            "One that was refused at its start has no receipt; it cost nothing."
        )
    if given.json:
        console.out(found.model_dump_json(), highlight=False)
        return 0
    print_receipt(found, console)
    say_command(console, "workflow", "query", "--workflow-id", found.workflow_id, "--type", "receipt")
    return 0


def print_receipt(found: Receipt, console: Console) -> None:
    """Print a receipt for people."""
    console.print(
        f"{found.workflow_id}: {found.status}, spent {exact(found.spent_microdollars)}", style="bold"
    )
    if found.budget_microdollars:
        console.print(f"it may spend {exact(found.budget_microdollars)} in all")
    if found.forked_from:
        before = exact(found.inherited_microdollars)
        console.print(
            f"goes on from {found.forked_from}, whose work up to there had cost {before}", soft_wrap=True
        )
    for title, shares in (
        ("phase", found.by_phase),
        ("plan item", found.by_item),
        ("tool", found.by_tool),
        ("day", found.by_day),
        ("price", found.by_price),
    ):
        console.print(_table(title, shares))
    if found.sandbox_time:
        console.print(_time_table(found))
    for each in found.waste:
        place = f"turn {each.turn}, attempt {each.attempt}" if each.turn else "an attempt"
        line = f"lost {exact(each.microdollars)} on {each.day}, {place}: {each.why or 'no reason is known'}"
        console.print(line, markup=False, soft_wrap=True)
    if found.open_microdollars:
        console.print(f"set aside for what is under way: {exact(found.open_microdollars)}", soft_wrap=True)
    savings = exact(found.cache_savings_microdollars)
    console.print(f"the cache saved {savings}, after what writing to it cost", soft_wrap=True)


def _table(title: str, shares: tuple[Share, ...]) -> Table:
    table = Table(show_footer=True, box=None)
    table.add_column(f"by {title}", footer="sum", overflow="fold")
    table.add_column("times", justify="right")
    total = exact(sum(share.microdollars for share in shares))
    table.add_column("dollars", footer=total, justify="right", no_wrap=True)
    for share in shares:
        table.add_row(share.name.replace("[", r"\["), str(share.times), exact(share.microdollars))
    return table


def _time_table(found: Receipt) -> Table:
    table = Table(show_footer=True, box=None)
    table.add_column("sandbox time", footer="sum", overflow="fold")
    table.add_column("day")
    table.add_column("seconds", justify="right")
    table.add_column("dollars", footer=exact(found.sandbox_microdollars), justify="right", no_wrap=True)
    for each in found.sandbox_time:
        phase, money = each.phase.replace("[", r"\["), exact(each.microdollars)
        table.add_row(phase, each.day.isoformat(), f"{each.seconds:.1f}", money)
    return table


async def quote(given: Namespace, console: Console) -> int:
    """Print what builds of similar plans came to."""
    if bool(given.file) == bool(given.idea):
        raise UnusableRequest("Give either a file or --idea TEXT.")
    plan = plan_of(read_request(given.file) if given.file else {})
    _, environment = await attach()
    async with open_rows(environment) as engine:
        found = quote_for(plan, await load_past(engine))
    if given.json:
        console.out(found.model_dump_json() if found else "null", highlight=False)
    elif found is None:
        console.print(f"no history yet: a quote needs {FEWEST} builds that ended READY", soft_wrap=True)
    else:
        print_quote(found, console)
    return 0


def plan_of(request: dict[str, JsonValue]) -> BuildPlan:
    """Give the plan of a request; raises UnusableRequest where it is none."""
    try:
        return BuildPlan.model_validate(request.get("build_plan") or {})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(("build_plan", *(str(part) for part in first["loc"])))
        raise UnusableRequest(f"{place}: {first['msg']}.") from None


def print_quote(found: Quote, console: Console) -> None:
    """Print a quote for people."""
    console.print(f"from {found.builds} builds that ended READY, the most similar plans", style="bold")
    table = Table(box=None)
    for name in ("", "median", "9 in 10 within"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    money = found.spent_microdollars
    table.add_row("dollars", exact(money.median), exact(money.high))
    time = found.sandbox_microdollars
    table.add_row("of it sandbox time", exact(time.median), exact(time.high))
    table.add_row("turns", str(found.turns.median), str(found.turns.high))
    table.add_row("days", str(found.days.median), str(found.days.high))
    console.print(table)
