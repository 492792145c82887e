"""Builds side by side on a stack that breaks: each started, awaited over every outage, and looked at."""

import asyncio
import hashlib
import os
import stat
import subprocess
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy.exc import DBAPIError
from temporalio.client import Client, WorkflowFailureError
from temporalio.service import RPCError, RPCStatusCode

from starter.commands import start_build
from tests.chaos.oracle import Findings
from tests.chaos.records import Records
from workflows.models import BuildResult

SIDE_BY_SIDE = 4
MOST_TOOL_CALLS = 2_000
TURNS_PER_RUN = 25
LIMIT_SECONDS = 900
"""A build that takes longer hangs."""
Entry = tuple[str, int, str]
"""Kind, mode, and digest or target."""


@dataclass
class Tree:
    """What a build left in its workspace."""

    entries: dict[str, Entry]
    """Path → entry, without git's own files and bytecode."""
    commit: str
    troubles: list[str]
    """What git says against it."""


@dataclass
class Built:
    """A build, from its start to its end."""

    name: str
    build_id: str
    started: float
    """Seconds since the epoch, as all times here."""
    ended: float = 0.0
    fork_of: str = ""
    """The build that it goes on from."""
    result: BuildResult | None = None
    why: str = ""
    """What it failed of."""
    tree: Tree | None = None
    rows: Records = field(default_factory=Records)
    findings: Findings = field(default_factory=Findings)
    problems: list[str] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.ended > 0


async def insist(step: Callable[[], Awaitable[Any]]) -> Any:
    """Do something again and again until the server that it needs is there."""
    while True:
        with suppress(RPCError, RuntimeError, DBAPIError, OSError):
            return await step()
        await asyncio.sleep(0.2)


async def begin(client: Client, name: str, asked: dict[str, Any]) -> Built:
    """Start a build of the scripted model; a start that was answered by an outage is repeated."""
    request = {**asked, "max_tool_calls": MOST_TOOL_CALLS, "turns_per_run": TURNS_PER_RUN}
    begun = time.time()
    try:
        handle = await start_build(client, request, name)
        run_id = handle.first_execution_run_id
    except (RPCError, RuntimeError):
        run_id = await insist(lambda: _running(client, request, name))
    fork_of = asked["fork"]["build"] if "fork" in asked else ""
    return Built(name, str(run_id), begun, fork_of=fork_of)


async def _running(client: Client, request: dict[str, Any], name: str) -> str:
    """Start it unless the first try had arrived."""
    try:
        begun = await client.get_workflow_handle(name).describe()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
    else:
        return begun.raw_description.workflow_execution_info.first_run_id
    return str((await start_build(client, request, name)).first_execution_run_id)


async def finish(client: Client, built: Built, sandboxes: Path) -> None:
    """Wait for a build's end, and look at the files that it left."""
    handle = client.get_workflow_handle(built.name, first_execution_run_id=built.build_id)
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            built.result = BuildResult.model_validate(await insist(handle.result))
    except WorkflowFailureError as error:
        built.why = f"it failed: {error.cause}"
    except TimeoutError:
        built.why = f"it hangs: no end after {LIMIT_SECONDS} s"
    built.ended = time.time()
    if built.result is not None:
        place = sandboxes / built.result.sandbox_id / "home" / "workspace"
        built.tree = await asyncio.to_thread(read_tree, place)


def read_tree(place: Path) -> Tree:
    """Read the files of a workspace and ask git about its own."""
    entries: dict[str, Entry] = {}
    for folder, names, files in os.walk(place):
        names[:] = [name for name in names if name not in {".git", "__pycache__"}]
        for name in (*names, *files):
            path = Path(folder, name)
            entries[str(path.relative_to(place))] = _entry(path)
    commit = _git(place, "rev-parse", "HEAD")
    troubles = [
        _git(place, "fsck", "--full", "--strict", "--no-dangling"),
        _git(place, "status", "--porcelain"),
    ]
    return Tree(entries, commit, [trouble for trouble in troubles if trouble])


def _entry(path: Path) -> Entry:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return "link", 0, str(path.readlink())
    kind = "folder" if stat.S_ISDIR(status.st_mode) else "file"
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if kind == "file" else ""
    return kind, stat.S_IMODE(status.st_mode), digest


def _git(place: Path, *words: str) -> str:
    if not (place / ".git").is_dir():
        return "there is no .git"
    told = subprocess.run(
        ["git", "-c", "safe.directory=*", "-C", place, *words], capture_output=True, text=True, check=False
    )
    return (told.stdout + (told.stderr if told.returncode else "")).strip()


def difference(found: Tree, wanted: Tree) -> list[str]:
    """Say how a tree differs from the one that it should be."""
    said = [f"git: {trouble[:300]}" for trouble in found.troubles]
    if found.commit != wanted.commit:
        said.append(f"its last commit is {found.commit[:12]!r}, not {wanted.commit[:12]!r}")
    return said + [
        f"{path}: {found.entries.get(path)}, not {wanted.entries.get(path)}"
        for path in sorted(found.entries.keys() | wanted.entries.keys())
        if found.entries.get(path) != wanted.entries.get(path)
    ]
