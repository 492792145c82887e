"""Who pays: the user's row with the plan's, and which model their builds use. Knows no build."""

from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio.exceptions import ApplicationError

from activities.lifecycles import is_offered, offered_models
from activities.money_tables import LIMITS, plan_tiers, switches, users
from activities.settings import Settings
from workflows.errors import FailureType

FIRST_TIER = "bootstrapper"
"""The plan of a user who is seen for the first time."""
AGENT_SWITCH = "autonomous_agent"
"""The row of `switches` that is the kill switch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user as their plan and the admins left them."""

    id: str
    tier: str
    timezone: str
    renews_on: date | None
    cycle_budget: int
    """Microdollars a cycle: the user's own, else the plan's."""
    override_models: dict[str, str]
    """Set by an admin: role → model."""
    default_models: dict[str, str]
    """The plan's: role → model."""
    allowed_models: list[str] | None
    """None: every model that can be had."""
    weight: int
    """The plan's share of the workers where several users wait."""
    suspended: bool
    concurrent_builds: int
    """Builds at once, sleeping ones too: the user's own number, else the plan's; so the next two."""
    builds_a_day: int
    tool_calls: int
    """The highest limit of tool calls that a build may have."""


async def load_user(connection: AsyncConnection, user_id: str) -> User:
    """Read a user, creating one on the smallest plan when they are seen for the first time."""
    if (found := await find_user(connection, user_id)) is not None:
        return found
    await connection.execute(insert(users).values(id=user_id, tier=FIRST_TIER).on_conflict_do_nothing())
    found = await find_user(connection, user_id)
    assert found is not None
    return found


def resolve_llm_config(user: User, role: str, *, settings: Settings, on: date, wanted: str = "") -> str:
    """Give the model: what was asked for, else an admin's override, the plan's default, the settings'.

    Raises UnknownModel, naming the models that the user may choose on that day.
    """
    override = user.override_models.get(role, "")
    model = wanted or override or user.default_models.get(role, "") or settings.default_model
    allowed = user.allowed_models
    if not is_offered(model, on=on) or not (allowed is None or model in allowed or model == override):
        offered = offered_models(on)
        choices = offered if allowed is None else [each for each in allowed if is_offered(each, on=on)]
        raise ApplicationError(
            f"model: {model!r} is retired, unknown or not available on the plan {user.tier!r}. "
            f"Choose one of: {', '.join(choices)}.",
            type=FailureType.UNKNOWN_MODEL,
            non_retryable=True,
        )
    return model


async def is_agent_on(connection: AsyncConnection, settings: Settings) -> bool:
    """Tell whether the kill switch lets the agent work: both the setting and the row must."""
    if not settings.autonomous_agent:
        return False
    row = await connection.execute(select(switches.c.on).filter_by(name=AGENT_SWITCH))
    return row.scalar_one_or_none() is not False


async def turn_switch(connection: AsyncConnection, *, on: bool) -> None:
    """Write the kill switch's row."""
    row = insert(switches).values(name=AGENT_SWITCH, on=on)
    changed = {"on": on, "changed_at": func.now()}
    await connection.execute(row.on_conflict_do_update(index_elements=["name"], set_=changed))


async def find_user(connection: AsyncConnection, user_id: str) -> User | None:
    """Read a user; none when they were never seen."""
    query = select(
        users.c.id,
        users.c.tier,
        users.c.timezone,
        users.c.renews_on,
        func.coalesce(users.c.cycle_budget, plan_tiers.c.cycle_budget).label("cycle_budget"),
        users.c.override_models,
        plan_tiers.c.default_models,
        plan_tiers.c.allowed_models,
        plan_tiers.c.weight,
        users.c.suspended,
        *(func.coalesce(users.c[name], plan_tiers.c[name]).label(name) for name in LIMITS),
    ).join(plan_tiers, plan_tiers.c.slug == users.c.tier)
    found: Any = (await connection.execute(query.where(users.c.id == user_id))).mappings().one_or_none()
    return User(**found) if found else None
