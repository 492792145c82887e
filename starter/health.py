"""Refusing to start on what cannot work, before a worker runs into it."""

from collections.abc import Mapping, Sequence

from activities.settings import Settings
from starter.local.parts import Part, PartFailed, PartStatus, Progress

NEEDED = frozenset({Part.POSTGRES, Part.S3, Part.TEMPORAL})
"""A worker does not start without them; builds wait for the others, or go on without."""


def check_settings(environment: Mapping[str, str]) -> None:
    """Raise WrongSettings for settings that cannot be used."""
    Settings.from_env(environment)


def check_parts(parts: Sequence[PartStatus], *, say: Progress) -> None:
    """Raise PartFailed for a part that no worker starts without; of several the others are said first."""
    failed = [
        PartFailed(
            part.name, why=f"{part.kind} at {part.address or 'no known address'}: {part.reason}", fix=part.fix
        )
        for part in parts
        if part.name in NEEDED and not part.healthy
    ]
    for other in failed[1:]:
        say(str(other))
    if failed:
        raise failed[0]
