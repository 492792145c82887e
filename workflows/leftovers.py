"""Payloads of the janitor: builds whose run has closed without closing what they held."""

from datetime import timedelta

from workflows.payload import Payload


class FindEnded(Payload):
    """Asks for builds that hold something although their run has closed."""

    most: int = 100
    """The others are found in the next round."""


class EndedBuild(Payload):
    """A build that nobody works on any more."""

    build_id: str
    """The run that its chain began with."""
    workflow_id: str
    how: str
    """How its last run closed, in Temporal's word: TERMINATED, FAILED, …; GONE: its server forgot it."""


class EndedBuilds(Payload):
    """What a round found."""

    builds: tuple[EndedBuild, ...] = ()
    unknown: int = 0
    """Builds of which the server knows no run and which it may not have run; they are left alone."""


class Cleared(Payload):
    """What was done for one build."""

    lost: int = 0
    """Open reservations that are counted as lost now."""
    closed: bool = False
    """Its row was open and is closed now."""
    killed: int = 0
    """Its sandboxes that are gone now."""


class SweepSandboxes(Payload):
    """Asks for the end of sandboxes that no build holds."""

    min_age: timedelta = timedelta(minutes=30)
    """A younger one is spared: its row may not have its id yet."""


class PruneFiles(Payload):
    """Asks for the end of restore points that are not kept, and of what only they named in the bucket."""

    min_age: timedelta = timedelta(days=1)
    """An object that was noted, or lost its last restore point, more lately is spared."""


class Pruned(Payload):
    """What a round deleted."""

    points: int = 0
    """Restore points."""
    objects: int = 0
    """In the bucket."""


class JanitorReport(Payload):
    """What a round came to."""

    closed: int = 0
    """Rows of builds."""
    lost: int = 0
    """Reservations."""
    killed: int = 0
    """Sandboxes."""
    failed: int = 0
    """Builds that could not be cleared; the next round tries again."""
    unknown: int = 0
    """Builds that another server runs, as far as is known."""
    points: int = 0
    """Restore points that are not kept any more."""
    objects: int = 0
    """Packs and manifests that no restore point named any more."""
