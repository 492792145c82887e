"""What the person set for a checkout: the environment and its `.env` file."""

from __future__ import annotations

import os
from pathlib import Path

from dotenv import dotenv_values

DIRECTORY = ".nightshift"
"""Where a checkout keeps the data of its stand-ins."""


def outside_environment(root: Path) -> dict[str, str]:
    """What the person set: the environment, over the checkout's `.env` file."""
    written = {name: value for name, value in dotenv_values(root / ".env").items() if value is not None}
    return written | dict(os.environ)
