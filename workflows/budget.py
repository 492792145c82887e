"""What may be spent, when to wind down, when to wake: pure functions of a day's numbers.

Money is integer microdollars. The rules are those of the design's section 4.
"""

from datetime import datetime, timedelta

from workflows.state import Stage
from workflows.texts import dollars
from workflows.turns import Balance, ModelReply

TOLD_CALLS = 8
"""Calls left at which the model is told."""
WINDING_DOWN_CALLS = 3
"""Calls left at which it is asked to leave everything in order."""
TOLD_SHARE = 80
"""Percent of the allowance spent at which the model is told."""
WINDING_DOWN_SHARE = 90
"""Percent of the allowance spent at which it winds down."""
LAST_CALLS = 10
"""Replies that a build has to leave everything in order, however little each of them costs."""
BUSY_WAIT = timedelta(minutes=2)
"""The longest wait for money that another build holds."""
SWITCH_WAIT = timedelta(minutes=5)
"""How often a parked build looks at the kill switch again."""
ASK_WAIT = timedelta(hours=1)
"""How often a build that needs a person looks whether it still does."""
BREAKER_SHARE = 10
"""Percent of a day that a call may cost above what was set aside; beyond, our prices are wrong."""
SHORTEST_SLEEP = timedelta(seconds=1)
"""A midnight that has just passed is not slept on for nothing."""
SHORTEST_SPREAD = timedelta(minutes=2)
"""Over which the builds of one midnight wake, however few they are."""
WAKES_A_SECOND = 5
"""How many of them wake in a second, on average over the window of the last. Who slept first counted fewer,
so the first minutes see more: 20 a second of 10,000."""

MOST_ADDED = 1_000_000_000_000
"""The most that is added at once, microdollars: a million dollars is a slip of the hand."""


def wrong_amount(given: object) -> str:
    """Say why an amount cannot be added; empty when it can."""
    if isinstance(given, bool) or not isinstance(given, int):
        shown = repr(given)[:50]
        return f"microdollars: {shown} is no whole number. Give whole microdollars: $5 is 5000000."
    if given <= 0:
        return f"microdollars: {given} adds nothing. Give a number above 0: $5 is 5000000."
    if given > MOST_ADDED:
        return f"microdollars: more than {MOST_ADDED} cannot be added at once. $5 is 5000000."
    return ""


def is_runaway(reply: ModelReply) -> bool:
    """Tell whether a call passed its reservation so far that the build must stop before the next."""
    allowance = reply.balance.allowance if reply.balance else 0
    return 100 * reply.overrun > BREAKER_SHARE * allowance


def calls_left(balance: Balance) -> int:
    """How many calls at the worst price are covered still; a price of nothing never ends it."""
    if balance.worst_case <= 0:
        return TOLD_CALLS + 1
    return _left(balance) // balance.worst_case


def _left(balance: Balance) -> int:
    return balance.left if balance.build_left is None else min(balance.left, balance.build_left)


def share_spent(balance: Balance) -> int:
    """Percent of the allowance that is settled, reserved or lost; 100 where there is no allowance."""
    if balance.allowance <= 0:
        return 100
    return 100 * (balance.settled + balance.reserved + balance.lost) // balance.allowance


def stage_of(balance: Balance) -> Stage:
    """Place a day's numbers: normal, told, or winding down."""
    calls, share = calls_left(balance), share_spent(balance)
    if calls <= WINDING_DOWN_CALLS or share >= WINDING_DOWN_SHARE:
        return Stage.WINDING_DOWN
    if calls <= TOLD_CALLS or share >= TOLD_SHARE:
        return Stage.TOLD
    return Stage.NORMAL


def note_for(before: Stage, balance: Balance) -> str:
    """The text that the model is told on reaching a later stage; empty when there is nothing new."""
    stage = stage_of(balance)
    order = list(Stage)
    if order.index(stage) <= order.index(before):
        return ""
    if _left(balance) < balance.left:
        return (
            f"[allowance] About {calls_left(balance)} more calls fit into what this build may spend in all; "
            "it ends then, and is not put to sleep. Leave the work running and committed, the most important "
            "first."
        )
    if stage is Stage.TOLD:
        return (
            f"[allowance] {share_spent(balance)} % of today's allowance is spent; about "
            f"{calls_left(balance)} more calls fit. Prefer finishing what is begun to beginning more."
        )
    return (
        f"[allowance] Today's allowance is nearly spent; at most {min(LAST_CALLS, calls_left(balance))} more "
        "calls fit. Leave the work running and committed now. You will be put to sleep and go on tomorrow; "
        "do not end your turn unless the whole plan is done."
    )


def used_up(most: int, balance: Balance | None) -> str:
    """Say why a build whose budget is used up ends, and what to do."""
    spent, price = (balance.build_spent, balance.worst_case) if balance else (0, 0)
    return (
        f"This build may spend {dollars(most)} in all and has spent {dollars(spent)}; its next call may cost "
        f"{dollars(price)}. Its files are saved: fork it with a larger budget to go on."
    )


def too_dear(balance: Balance | None) -> str:
    """Ask for what makes a call possible that no day can pay."""
    price = f"up to {dollars(balance.worst_case)}" if balance else "too much"
    return (
        f"The next call, made as small as it goes, costs {price}: more than a whole day's allowance. "
        "Add money to today (`add_budget`), choose a cheaper model (`set_model`), or have the budget raised. "
        "It looks again after any of these, by `resume`, and every hour."
    )


def spread(sleepers: int, sleep: timedelta) -> timedelta:
    """Over how long after midnight one of so many sleepers may wake: five a second, two minutes at least.

    At most half of the sleep, so that who is put to sleep shortly before midnight does not wait for long.
    """
    if sleepers <= 0:
        return timedelta(0)
    return min(max(SHORTEST_SPREAD, timedelta(seconds=sleepers / WAKES_A_SECOND)), sleep / 2)


def wake_time(now: datetime, balance: Balance | None, chance: float) -> datetime:
    """When to wake: never before the user's midnight, and as far after it as `chance`, in [0, 1), says.

    Each build draws for itself, so a user's many builds come as evenly as the one of another.
    """
    sleep = sleep_for(now, balance and balance.wakes_at)
    return now + sleep + spread(balance.sleepers if balance else 0, sleep) * chance


def sleep_for(now: datetime, wakes_at: datetime | None) -> timedelta:
    """How long to sleep until a moment; a missing one means look again in an hour."""
    if wakes_at is None:
        return timedelta(hours=1)
    return max(SHORTEST_SLEEP, wakes_at - now)
