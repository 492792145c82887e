"""The demo: one command from nothing to a running, proven app, and how to look further."""

import asyncio
import json
import sys
import urllib.error
import urllib.request
from argparse import Namespace
from dataclasses import dataclass

from pydantic import JsonValue
from rich.console import Console
from rich.table import Table
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError

from starter.attach import ROOT
from starter.commands import Handle, say_command, start_build
from starter.exits import until_told
from starter.requests import read_request, workflow_id_for
from starter.running import Nightshift, open_nightshift
from starter.stack_table import stack_table
from starter.watching import show
from workflows.models import BuildResult
from workflows.texts import dollars

EXAMPLE = ROOT / "examples" / "habit-tracker.json"
PREVIEW_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Built:
    """A finished demo build."""

    handle: Handle
    result: BuildResult
    preview_status: int
    web_ui: str

    def fields(self) -> dict[str, JsonValue]:
        """What `JSON=1` prints."""
        result = self.result
        return {
            "status": result.status,
            "workflow_id": self.handle.id,
            "run_id": self.handle.first_execution_run_id,
            "preview_url": result.preview_url,
            "preview_status": self.preview_status,
            "build_version": result.build_version,
            "sandbox_id": result.sandbox_id,
            "snapshot_key": result.snapshot_key,
            "turns": result.turns,
            "tool_calls": result.tool_calls,
            "spent_microdollars": result.spent_microdollars,
            "web_ui": self.web_ui,
        }


async def demo(given: Namespace, console: Console) -> int:
    """Start everything, build the example, show it; 0 only when READY and the preview answers 200."""
    request = read_request(given.file or EXAMPLE)

    def progress(line: str) -> None:
        console.print(line, style="dim", soft_wrap=True)

    async with open_nightshift(progress=progress) as nightshift:
        console.print(stack_table(nightshift.stack.parts))
        handle = await start_build(nightshift.client, request, workflow_id_for(request))
        try:
            built = await see_through(nightshift, handle, console)
        except WorkflowFailureError as error:
            return tell_failure(nightshift, handle, error, console, as_json=given.json)
        _show(built, console)
        if given.json:
            sys.stdout.write(json.dumps(built.fields()) + "\n")
        elif sys.stdin.isatty() and console.is_terminal:
            await _until_interrupted(nightshift, console)
        return 0 if built.preview_status == 200 else 1  # noqa: PLR2004 HTTP OK


def tell_failure(
    nightshift: Nightshift, handle: Handle, error: WorkflowFailureError, console: Console, *, as_json: bool
) -> int:
    """Say how a build failed; gives the status of the command."""
    console.print(f"FAILED: {error.cause}", style="bold red", soft_wrap=True)
    if as_json:
        sys.stdout.write(json.dumps(_failure_fields(nightshift, handle, error)) + "\n")
    return 1


def _failure_fields(
    nightshift: Nightshift, handle: Handle, error: WorkflowFailureError
) -> dict[str, JsonValue]:
    """What `JSON=1` prints of a build that failed."""
    cause = error.cause
    return {
        "status": "FAILED",
        "workflow_id": handle.id,
        "run_id": handle.first_execution_run_id,
        "outcome": (cause.type or "") if isinstance(cause, ApplicationError) else "",
        "message": str(cause),
        "web_ui": _page(nightshift, handle),
    }


async def see_through(nightshift: Nightshift, handle: Handle, console: Console) -> Built:
    """Show a build until it ends, and fetch its app; raises WorkflowFailureError where it is not READY."""
    run_id = handle.first_execution_run_id or ""
    page = _page(nightshift, handle)
    console.print(f"build {handle.id}" + (f", to be watched at {page}" if page else ""), soft_wrap=True)
    if asked := await show(handle, run_id, nightshift.environment, console, until_asked=True):
        # What must be mended is read when the stack starts: this one would wait for ever.
        await handle.signal("stop", asked)
    result = BuildResult.model_validate(await handle.result())
    return Built(handle, result, await asyncio.to_thread(_fetch, result.preview_url), page)


def _page(nightshift: Nightshift, handle: Handle) -> str:
    ui, run_id = nightshift.stack.web_ui, handle.first_execution_run_id
    return (
        f"{ui}/namespaces/{nightshift.client.namespace}/workflows/{handle.id}/{run_id}/history" if ui else ""
    )


def _fetch(url: str) -> int:
    """HTTP status of the preview; 0 when it does not answer."""
    try:
        with urllib.request.urlopen(url, timeout=PREVIEW_SECONDS) as reply:  # noqa: S310 our own preview
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, ValueError):
        return 0


def _show(built: Built, console: Console) -> None:
    result = built.result
    table = Table(show_header=False, box=None)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in (
        ("status", result.status),
        ("preview", f"{result.preview_url}  (HTTP {built.preview_status})"),
        ("version", result.build_version),
        ("snapshot", result.snapshot_key),
        ("work", f"{result.turns} turns, {result.tool_calls} tool calls"),
        ("spent", dollars(result.spent_microdollars)),
        ("web ui", built.web_ui),
    ):
        table.add_row(name, value)
    console.print(table)
    say_command(console, "workflow", "show", "--workflow-id", built.handle.id)
    say_command(console, "workflow", "query", "--workflow-id", built.handle.id, "--type", "status")


async def _until_interrupted(nightshift: Nightshift, console: Console) -> None:
    console.print("Everything stays up until Ctrl-C.", style="bold")
    await until_told(nightshift.stack.wait())
