"""Whether a build may start: the switch, the user, the model, the plan's limits and the day's money.

The rows of unfinished builds are the leases of a user's builds at once: they outlive a crash, and whoever
ends a build, or finds that it has ended, closes its row.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio.exceptions import ApplicationError

from activities.billing_cycle import local_day, midnight_of
from activities.days import look_at_day
from activities.money_tables import users
from activities.settings import Settings
from activities.tables import builds
from activities.users import User, is_agent_on, resolve_llm_config
from workflows.errors import FailureType
from workflows.models import BuildRequest

ROLE = "coder"


@dataclass(frozen=True, slots=True, kw_only=True)
class Applicant:
    """A build that would start."""

    run_id: str
    """Its own row, which an attempt at the same time may have written, does not count against it."""
    user: User
    request: BuildRequest
    at: datetime
    """The server's time of the activity, never this machine's clock."""


async def admit(connection: AsyncConnection, build: Applicant, *, settings: Settings) -> str:
    """Give the model of a build that may start; raises the failure that says why it may not."""
    user, request = build.user, build.request
    if not await is_agent_on(connection, settings):
        raise refusal(
            FailureType.AGENT_DISABLED,
            "Builds are switched off for now. Set AUTONOMOUS_AGENT and turn the switch on to allow them.",
        )
    if user.suspended:
        raise refusal(FailureType.USER_SUSPENDED, f"user: {user.id!r} is suspended; ask an admin.")
    model = resolve_llm_config(user, ROLE, settings=settings, on=build.at.date(), wanted=request.model)
    if request.max_tool_calls > user.tool_calls:
        raise refusal(
            FailureType.INVALID_BUILD_REQUEST,
            f"max_tool_calls: {request.max_tool_calls} is above {user.tool_calls}, the most that the plan "
            f"{user.tier!r} of {user.id!r} allows. Ask for at most {user.tool_calls}.",
        )
    await _check_builds(connection, build)
    day = await look_at_day(connection, user, build.at)
    if day.money <= 0:
        raise refusal(
            FailureType.NO_ALLOWANCE,
            f"user: the plan {user.tier!r} of {user.id!r} leaves nothing to spend today. "
            "Add budget or wait until the plan renews.",
        )
    return model


async def _check_builds(connection: AsyncConnection, build: Applicant) -> None:
    """Refuse one build too many; the user's row stays locked, so that two cannot both be the last."""
    user = build.user
    locked = select(users.c.id).filter_by(id=user.id).with_for_update(key_share=True)
    await connection.execute(locked)
    running = await _count(connection, build, builds.c.finished_at.is_(None))
    if running >= user.concurrent_builds:
        raise refusal(
            FailureType.TOO_MANY_BUILDS,
            f"user: {user.id!r} has {running} builds running or sleeping; the plan {user.tier!r} allows "
            f"{user.concurrent_builds} at once. Wait until one ends, or stop one.",
        )
    began = midnight_of(local_day(build.at, timezone=user.timezone), timezone=user.timezone)
    today = await _count(connection, build, builds.c.started_at >= began)
    if today >= user.builds_a_day:
        raise refusal(
            FailureType.TOO_MANY_BUILDS,
            f"user: {user.id!r} has started {today} builds today; the plan {user.tier!r} allows "
            f"{user.builds_a_day} a day. Start again tomorrow.",
        )


async def _count(connection: AsyncConnection, build: Applicant, which: ColumnElement[bool]) -> int:
    mine = (builds.c.user_id == build.user.id, builds.c.id != build.run_id)
    query = select(func.count()).select_from(builds).where(*mine, which)
    return (await connection.execute(query)).scalar_one()


def refusal(kind: FailureType, text: str) -> ApplicationError:
    """Give the failure of a build that may not start."""
    return ApplicationError(text, type=kind, non_retryable=True)
