"""The stack and a worker in the foreground, until Ctrl-C or SIGTERM."""

from argparse import Namespace

from rich.console import Console

from starter.commands import say_command, serve
from starter.exits import until_told
from starter.running import Nightshift, open_nightshift
from starter.stack_table import stack_table

PREVIEWS = 3
"""How many of the newest READY builds are served again."""


async def _serve_previews(nightshift: Nightshift, console: Console) -> None:
    """Bring the apps of the newest builds back, at the addresses that they had."""
    query = "WorkflowType = 'BuildWorkflow' AND BuildStatus = 'READY' AND ExecutionStatus = 'Completed'"
    served: set[str] = set()
    async for found in nightshift.client.list_workflows(query, page_size=PREVIEWS, limit=PREVIEWS):
        if found.id not in served:
            served.add(found.id)
            report = await serve(nightshift.client, found.id)
            console.print(f"{found.id}: {report.preview_url or report.summary}", soft_wrap=True)


async def up(_: Namespace, console: Console) -> int:
    """Keep everything running; raises PartFailed when a part dies."""

    def progress(line: str) -> None:
        console.print(line, style="dim", soft_wrap=True)

    async with open_nightshift(progress=progress) as nightshift:
        console.print(stack_table(nightshift.stack.parts))
        console.print(f"Web UI: {nightshift.stack.web_ui or 'that of your own server'}")
        console.print("Start a build:", style="bold")
        say_command(
            console, "workflow", "start", "--type", "BuildWorkflow", "--task-queue", "builds",
            "--workflow-id", "my-first", "--input", '{"idea": "a habit tracker"}',
        )  # fmt: skip
        await _serve_previews(nightshift, console)
        console.print("Running until Ctrl-C.", style="bold")
        await until_told(nightshift.stack.wait())
        console.print("stopping")
    return 0
