"""What admins do: see and change users, add money, turn the kill switch; whoever it may help is woken."""

import secrets
from argparse import Namespace
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime

from rich.console import Console
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from activities.accounts import Account, Accounts, UnknownUser
from activities.billing_cycle import cycle_of, is_zone, local_day
from activities.lifecycles import is_offered, offered_models
from activities.settings import Settings
from activities.waking import wake_builds
from starter.amounts import PLAN, exact, limit_of, microdollars_of, one_of, renewal_of, zone_of
from starter.attach import attach
from starter.changes import BuildEnded, change_build, say_update
from starter.requests import UnusableRequest
from starter.rows import open_rows

FREES = frozenset({"tier", "budget", "renews", "timezone", "resume"})
"""Edits after which a sleeping build may find money."""


@asynccontextmanager
async def open_accounts(environment: Mapping[str, str]) -> AsyncGenerator[Accounts]:
    """Reach the users' rows; raises PartFailed."""
    try:
        async with open_rows(environment) as engine:
            yield Accounts(engine)
    except UnknownUser as error:
        raise UnusableRequest(
            f"USER: there is no user {str(error)!r}. Give them a plan to make one: "
            f"`python -m starter admin tier {error} bootstrapper`."
        ) from None


async def admin(given: Namespace, console: Console) -> int:
    """Show a user, or change one and show them; an edit that is refused changes nothing."""
    client, environment = await attach()
    async with open_accounts(environment) as accounts:
        account = await _edit(given, accounts, datetime.now(UTC))
    for line in lines_of(account):
        console.print(line, markup=False, soft_wrap=True)
    if given.edit in FREES:
        await _wake(client, console, user=given.user)
    return 0


async def _edit(given: Namespace, accounts: Accounts, at: datetime) -> Account:
    user: str = given.user
    if given.edit == "show":
        return await accounts.show(user, at=at)
    if given.edit == "model":
        model = "" if given.value == PLAN else known_model(given.value, on=at.date())
        return await accounts.override_model(user, given.role, model, at=at)
    if given.edit == "tier":
        tiers = await accounts.tiers()
        return await accounts.change(user, {"tier": one_of(given.value, tiers, what="TIER")}, at=at)
    account = await accounts.show(user, at=at)
    return await accounts.change(user, _values(given, account, at), at=at)


def _values(given: Namespace, account: Account, at: datetime) -> dict[str, object]:
    """The columns of an edit that needs the user to be known; raises UnusableRequest."""
    text = str(getattr(given, "value", ""))
    match given.edit:
        case "budget":
            return {"cycle_budget": None if text == PLAN else microdollars_of(text)}
        case "renews":
            today = local_day(at, timezone=account.user.timezone)
            return {"renews_on": None if text == PLAN else renewal_of(text, today=today)}
        case "timezone":
            return {"timezone": zone_of(text)}
        case "limit":
            return {given.name: None if text == PLAN else limit_of(text)}
        case _:
            return {"suspended": given.edit == "suspend"}


def known_model(name: str, *, on: date) -> str:
    """Check that a model can be had; raises UnusableRequest with the list."""
    if not is_offered(name, on=on):
        known = ", ".join(offered_models(on))
        raise UnusableRequest(f"MODEL: {name!r} is retired or not known. Choose one of: {known}.")
    return name


def lines_of(account: Account) -> list[str]:
    """A user as admins read them."""
    user, balance = account.user, account.balance
    renewal = cycle_of(balance.day, renews_on=user.renews_on).renewal
    models = ", ".join(f"{role} {model}" for role, model in user.override_models.items())
    return [
        f"{user.id}: plan {user.tier}" + (", suspended" if user.suspended else ""),
        f"budget {exact(user.cycle_budget)} a cycle, renews {renewal}, time zone {_told_zone(user.timezone)}",
        f"today {exact(balance.left)} left of {exact(balance.allowance)}",
        f"{account.open_builds} of {user.concurrent_builds} builds at once",
        f"{user.builds_a_day} builds a day, {user.tool_calls} tool calls each",
        *([f"models set by an admin: {models}"] if models else []),
    ]


def _told_zone(name: str) -> str:
    """A zone that was written into the row by hand may be none."""
    return name if is_zone(name) else f"{name!r}, which is none: UTC is used"


async def add(given: Namespace, console: Console) -> int:
    """Add money to the day of a user, or of a build's user by the build's own update."""
    amount = microdollars_of(given.amount)
    client, environment = await attach()
    try:
        await change_build(client, given.id, "add_budget", amount)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return await _add_to_user(given.id, amount, client, environment, console)
    except BuildEnded as error:
        raise UnusableRequest(
            f"{error} Add to its user instead: `python -m starter add USER AMOUNT`."
        ) from None
    console.print(f"added {exact(amount)} to the day of the user of {given.id}, and woke their builds")
    say_update(console, given.id, "add_budget", amount)
    return 0


async def _add_to_user(
    user: str, amount: int, client: Client, environment: Mapping[str, str], console: Console
) -> int:
    async with open_accounts(environment) as accounts:
        try:
            account = await accounts.add(
                user, amount, key=f"hand-{secrets.token_hex(16)}", at=datetime.now(UTC)
            )
        except UnknownUser:
            raise UnusableRequest(
                f"There is neither a build nor a user {user!r}. Nothing was added."
            ) from None
    console.print(f"added {exact(amount)}: today {exact(account.balance.left)} left of "
                  f"{exact(account.balance.allowance)}")  # fmt: skip
    await _wake(client, console, user=user)
    return 0


async def switch(given: Namespace, console: Console) -> int:
    """Turn the kill switch; on again, every running build is woken."""
    client, environment = await attach()
    on = given.to == "on"
    async with open_accounts(environment) as accounts:
        await accounts.switch(on=on)
    if not on:
        console.print("switched off: no build starts, running ones park before their next call")
        return 0
    console.print("switched on")
    if not Settings.from_env(environment).autonomous_agent:
        console.print("but AUTONOMOUS_AGENT is false here: a worker with it stays off until it is set")
    await _wake(client, console)
    return 0


async def _wake(client: Client, console: Console, *, user: str | None = None) -> None:
    console.print(f"woke {await wake_builds(client, user=user)} running builds")
