"""The parts of the stack: their names, what each hands out, and how one fails; no part's own workings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

Progress = Callable[[str], None]
"""Called with one line for a person whenever something slow moves on."""


class Part(StrEnum):
    """An outside service that Nightshift needs."""

    POSTGRES = "postgres"
    REDIS = "redis"
    S3 = "s3"
    TEMPORAL = "temporal"
    SANDBOX = "sandbox"
    MODEL = "model"


ALL_PARTS = frozenset(Part)

CHOSEN_BY: Mapping[Part, tuple[str, ...]] = {
    Part.POSTGRES: ("DATABASE_URL",),
    Part.REDIS: ("REDIS_URL",),
    Part.S3: ("PROJECT_SNAPSHOT_BUCKET", "AWS_ENDPOINT_URL_S3"),
    Part.TEMPORAL: ("TEMPORAL_ADDRESS", "TEMPORAL_PROFILE", "TEMPORAL_CONFIG_FILE"),
    Part.SANDBOX: ("E2B_API_KEY", "E2B_API_URL"),
    Part.MODEL: ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"),
}
"""A part is real when any of these is set; else its stand-in is started."""

PREFIX: Mapping[Part, str] = {
    Part.S3: "AWS_",
    Part.TEMPORAL: "TEMPORAL_",
    Part.SANDBOX: "E2B_",
    Part.MODEL: "ANTHROPIC_",
}
"""What else belongs to a real part begins so, and is handed on with it."""


class PartFailed(Exception):
    """A part of the stack cannot run: which, why, and what to install or set."""

    def __init__(self, name: str, *, why: str, fix: str) -> None:
        super().__init__(f"{name}: {why}\n  what to do: {fix}")
        self.name = name
        self.why = why
        self.fix = fix


@dataclass(frozen=True, slots=True, kw_only=True)
class PartStatus:
    """What is known of one part; no field ever holds a secret."""

    name: Part
    kind: Literal["real", "stand-in"]
    address: str
    version: str
    healthy: bool
    reason: str = ""
    """Why it is not healthy, where that is known."""
    fix: str = ""
    """What to install or set; empty when healthy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A stand-in that runs: its address without secrets, and the settings that lead to it."""

    part: Part
    address: str
    version: str
    environment: Mapping[str, str] = field(repr=False)
    web_ui: str = ""
    env_file: str = ""


def is_real(part: Part, environment: Mapping[str, str]) -> bool:
    """Whether the person named a real service for this part."""
    return any(environment.get(name) for name in CHOSEN_BY[part])


def real_settings(part: Part, environment: Mapping[str, str]) -> dict[str, str]:
    """The settings of a real part, as the person gave them."""
    prefix = PREFIX.get(part)
    return {
        name: value
        for name, value in environment.items()
        if value and (name in CHOSEN_BY[part] or (prefix and name.startswith(prefix)))
    }
