"""Payloads of going back: a fork begins at a restore point of another build, a rewind is a build's own."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from workflows.payload import Payload


class ForkPoint(Payload):
    """Where a build begins that goes on from another one."""

    build: Annotated[str, Field(min_length=1, max_length=1_000)]
    """Its workflow id, or its build id."""
    turn: Annotated[int, Field(ge=0)]
    """Of a kept restore point; what is asked for and not kept is answered with those that are."""


class RewindPoint(Payload):
    """What a founder asks a running build to go back to."""

    turn: Annotated[int, Field(ge=0)]
    """Of a kept restore point of the build."""


class FindRestorePoint(Payload):
    """Asks for a restore point to go back to, and that it be kept until then."""

    build_id: str
    turn: int


class Rewind(Payload):
    """A restore point that a build goes back to."""

    restore_point: int
    """Row id."""
    key: str
    """Manifest key in the bucket."""
    turn: int
    at: datetime | None = None
    """When the founder asked."""


class RewindBuild(Payload):
    """Asks for the conversation to go on from a restore point."""

    build_id: str
    rewind: Rewind


class Rewound(Payload):
    """Where the conversation goes on."""

    head: int
    """Transcript row of the message that tells the model."""
    phase: str = ""
    """Under way at that turn."""
    open_phases: tuple[str, ...] = ()
    """Of the plan, not begun by then; in order."""
