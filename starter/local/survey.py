"""What every part is and how it does, asked without starting anything."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from starter.local.claim import running_parts
from starter.local.home import Home
from starter.local.outside import DIRECTORY, outside_environment
from starter.local.parts import Part, PartStatus, Started, is_real
from starter.local.probe import address_of, probe
from starter.local.s3 import HEALTH, answers
from starter.local.temporal import installation_at

DOORS = {Part.S3: HEALTH, Part.SANDBOX: "/healthz", Part.MODEL: "/healthz"}
"""Where a stand-in that speaks HTTP says that it is well."""


async def survey(root: Path, *, data: Path | None = None) -> tuple[PartStatus, ...]:
    """Each part: real or stand-in, whether it answers now, its version, and what to do when it does not."""
    outside = outside_environment(root)
    home = await asyncio.to_thread(Home.open, data or root / DIRECTORY)
    running = await asyncio.to_thread(running_parts, home)

    async def look(part: Part) -> PartStatus:
        if is_real(part, outside):
            return await probe(part, outside, kind="real")
        if part in running:
            return await look_at(running[part], home=home)
        return PartStatus(
            name=part, kind="stand-in", address="", version="", healthy=False, fix="`make up` starts it"
        )

    return tuple(await asyncio.gather(*(look(part) for part in Part)))


async def look_at(started: Started, *, home: Home) -> PartStatus:
    """How a running stand-in does."""
    if started.part in DOORS:
        return await _knock(started)
    status = await probe(started.part, started.environment, kind="stand-in")
    if started.part is Part.TEMPORAL and status.healthy:
        namespace = started.environment["TEMPORAL_NAMESPACE"]
        found = await installation_at(started.address, namespace=namespace)
        if found != home.installation:
            fix = "another checkout's server answers there: stop it, then start this checkout's stack again"
            return replace(status, healthy=False, fix=fix)
    return status


async def _knock(started: Started) -> PartStatus:
    healthy = await asyncio.to_thread(answers, started.address + DOORS[started.part])
    return PartStatus(
        name=started.part,
        kind="stand-in",
        address=address_of(started.part, started.environment),
        version=started.version,
        healthy=healthy,
        fix="" if healthy else "stop the process that runs the stack, and start it again",
    )
