"""What must not be left once all builds are over: processes, sandboxes, open rows, running workflows."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from e2b import AsyncSandbox
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio.client import Client

from starter.attach import TASK_QUEUE
from starter.local.parts import Part
from tests.chaos.builds import Built
from tests.chaos.parts import Parts

OPEN = {
    "builds that are open": "SELECT id FROM builds WHERE finished_at IS NULL",
    "reservations that are open": "SELECT id FROM ledger WHERE state = 'reserved'",
    "sandboxes that are neither gone nor a preview": """SELECT s.sandbox_id FROM sandboxes s
        JOIN builds b ON b.id = s.build_id WHERE s.state <> 'gone' AND s.sandbox_id <> b.sandbox_id""",
    "sandboxes of which strays are left": """SELECT sandbox_id FROM sandboxes
        WHERE jsonb_array_length(coalesce(details -> 'strays', '[]')) > 0""",
}
MOST_STRAYS = 2
"""And a tenth of all: those over which a worker died, or whose kill met a fault."""


async def left_over(
    parts: Parts, client: Client, connection: AsyncConnection, builds: Sequence[Built], *, others: int
) -> list[str]:
    """Say what is left after a round of the janitor, but the previews of finished builds.

    `others`: how often it was set that a connect is answered with another sandbox.
    """
    await client.execute_workflow("JanitorWorkflow", id="chaos-janitor", task_queue=TASK_QUEUE)
    said: list[str] = []
    for what, query in OPEN.items():
        if found := [row[0] for row in await connection.execute(text(query))]:
            said.append(f"{what}: {found}")
    previews = {built.result.sandbox_id for built in builds if built.result}
    left, strays = await _sandboxes(parts, previews)
    said += left
    if strays > MOST_STRAYS + others / 10:
        said.append(f"the provider has {strays} sandboxes that connects were answered with, of {others} set")
    said += [
        f"workflow {each.id} ({each.workflow_type}) runs"
        async for each in client.list_workflows("ExecutionStatus = 'Running'")
    ]
    return said


async def _sandboxes(parts: Parts, previews: set[str]) -> tuple[list[str], int]:
    """Name the provider's sandboxes that we asked for and that are no previews, and count the others."""
    said: list[str] = []
    strays = 0
    pages = AsyncSandbox.list(limit=100, **provider(parts))
    while pages.has_next:
        for each in await pages.next_items():
            if not was_asked_for(parts, each.sandbox_id):
                strays += 1
            elif each.sandbox_id not in previews:
                said.append(f"the provider has sandbox {each.sandbox_id} ({each.state}, {each.metadata})")
    return said, strays


def was_asked_for(parts: Parts, sandbox_id: str) -> bool:
    """Tell whether a sandbox was created by us.

    One that a connect was answered with, by a fault, has no key; where a worker died over it, it is left to
    the sweep, which spares young ones.
    """
    record = parts.home.part(Part.SANDBOX) / "sandboxes" / sandbox_id / "record.json"
    return json.loads(record.read_text())["idempotency_key"] is not None


def provider(parts: Parts) -> dict[str, Any]:
    """What E2B's SDK is told to reach the sandbox server."""
    environment = parts.environment
    return {
        "api_url": environment["E2B_API_URL"],
        "sandbox_url": environment["E2B_SANDBOX_URL"],
        "api_key": environment["E2B_API_KEY"],
    }


def sandbox_ids(parts: Parts) -> set[bytes]:
    """Give the ids of the sandboxes that the server knows last."""
    return {path.name.encode() for path in (parts.home.part(Part.SANDBOX) / "sandboxes").glob("*")}


def processes(directory: Path, sandboxes: set[bytes]) -> list[str]:
    """Give the processes that name a directory, or that run in one of the sandboxes."""
    found: list[str] = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            line = (path / "cmdline").read_bytes()
            words = (path / "environ").read_bytes().split(b"\0")
            ids = {word.partition(b"=")[2] for word in words if word.startswith(b"E2B_SANDBOX_ID=")}
            if ids & sandboxes or str(directory).encode() in line:
                found.append(f"{path.name} {line[:200]!r}")
    return found
