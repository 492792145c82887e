"""What a build will probably cost, from builds of similar plans that ended READY. Pure."""

from collections.abc import Sequence

from workflows.models import BuildPlan
from workflows.payload import Payload

FEWEST = 3
"""Builds below which nothing is said."""
NEAREST = 10
"""How many builds are taken where too few have as many phases."""
PHASES_APART = 1
"""How far the number of phases of a similar plan may be off."""
TYPICAL, HIGH = 50, 90
"""Percentiles that are told."""


class PastBuild(Payload):
    """A build that ended READY."""

    phases: int
    """Of its plan."""
    items: int
    """Of all phases of its plan."""
    spent: int
    """Microdollars, lost attempts and sandbox time included."""
    sandbox: int = 0
    """The part of it that was sandbox time."""
    turns: int
    """Replies that were bought."""
    days: int
    """Local days on which it bought one."""


class Range(Payload):
    """The middle, and what nine in ten stayed within."""

    median: int
    high: int


class Quote(Payload):
    """What similar builds came to."""

    builds: int
    """How many it is from."""
    spent_microdollars: Range
    sandbox_microdollars: Range
    """Of the part that was sandbox time."""
    turns: Range
    days: Range


def size_of(plan: BuildPlan) -> tuple[int, int]:
    """Give the number of phases of a plan, and of their items."""
    return len(plan.phases), sum(len(phase.items) for phase in plan.phases)


def quote_for(plan: BuildPlan, past: Sequence[PastBuild]) -> Quote | None:
    """Give what similar builds came to; none where there are fewer than three."""
    chosen = similar(plan, past)
    if len(chosen) < FEWEST:
        return None
    return Quote(
        builds=len(chosen),
        spent_microdollars=_range([build.spent for build in chosen]),
        sandbox_microdollars=_range([build.sandbox for build in chosen]),
        turns=_range([build.turns for build in chosen]),
        days=_range([build.days for build in chosen]),
    )


def similar(plan: BuildPlan, past: Sequence[PastBuild]) -> Sequence[PastBuild]:
    """Choose the builds with as many phases, give or take one; where too few, the nearest by items."""
    phases, items = size_of(plan)
    alike = [build for build in past if abs(build.phases - phases) <= PHASES_APART]
    if len(alike) >= FEWEST:
        return alike
    return sorted(past, key=lambda build: abs(build.items - items))[:NEAREST]


def percentile(values: Sequence[int], percent: int) -> int:
    """Give the smallest value that at least so many in a hundred do not exceed."""
    # The rank is rounded up: -(-a // b) is that in whole numbers.
    return sorted(values)[max(1, -(-percent * len(values) // 100)) - 1]


def _range(values: Sequence[int]) -> Range:
    return Range(median=percentile(values, TYPICAL), high=percentile(values, HIGH))
