"""Reaching what runs already, without starting anything; imports little, so that commands answer at once."""

import asyncio
from pathlib import Path

from temporalio.client import Client

from starter.connect import connect
from starter.local.claim import running_parts
from starter.local.home import Home
from starter.local.outside import DIRECTORY, outside_environment
from starter.local.parts import Part, PartFailed, is_real

ROOT = Path(__file__).parent.parent
"""The checkout."""
TASK_QUEUE = "builds"
"""Workflow tasks and activities of builds."""
DATA_VARIABLE = "NIGHTSHIFT_DATA"
"""Another directory for the stack's data than `.nightshift` of the checkout."""


def data_directory() -> Path | None:
    """Where the stack keeps its data; None for the checkout's own place."""
    named = outside_environment(ROOT).get(DATA_VARIABLE)
    return Path(named) if named else None


async def attach(root: Path = ROOT) -> tuple[Client, dict[str, str]]:
    """Reach what runs already: real parts, and the stand-ins that this checkout runs.

    Raises PartFailed where no Temporal server is named and none is run here.
    """
    outside = outside_environment(root)
    home = await asyncio.to_thread(Home.open, data_directory() or root / DIRECTORY)
    running = await asyncio.to_thread(running_parts, home)
    environment = dict(outside)
    for part, started in running.items():
        if not is_real(part, outside):
            environment |= started.environment
    if Part.TEMPORAL not in running and not is_real(Part.TEMPORAL, outside):
        raise PartFailed("temporal", why="nothing runs here", fix="start it with `make up`")
    return await connect(environment), environment
