"""What a person says to builds: each command does it and prints the matching `temporal` command."""

import json
import shlex
from argparse import Namespace
from collections.abc import Mapping

from pydantic import JsonValue
from rich.console import Console
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle, WorkflowQueryFailedError
from temporalio.common import Priority, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from starter.amounts import microdollars_of
from starter.attach import ROOT, TASK_QUEUE, attach, data_directory
from starter.local.outside import DIRECTORY, outside_environment
from starter.local.parts import Part, is_real
from starter.requests import UnusableRequest, check_size, headline_of, read_request, workflow_id_for
from workflows.fairness import share_of
from workflows.files import ProofReport, ServePreview
from workflows.models import BuildRequest, BuildResult, BuildStatus, TimelineEntry
from workflows.options import WORKFLOW_TASK
from workflows.texts import dollars, spent_of

Handle = WorkflowHandle[object, object]
OWN_SERVER = ("address", "namespace", "profile")
"""What leads the CLI to a server of one's own, by flag or by variable."""
ENV_FILE = "temporal-dev.yaml"
"""The CLI's flags; a copy with other ports stands in the data directory where the usual ones are taken."""


def say_command(console: Console, *words: str) -> None:
    """Print the Temporal CLI's way of doing the same."""
    console.print(f"$ temporal {shlex.join([*words, *_server_flags()])}", style="dim", soft_wrap=True)


def _server_flags() -> list[str]:
    """Lead the CLI to the server: a person's own by what they set, never its key; else this checkout's."""
    outside = outside_environment(ROOT)
    if is_real(Part.TEMPORAL, outside):
        named = ((flag, outside.get(f"TEMPORAL_{flag.upper()}", "")) for flag in OWN_SERVER)
        return [word for flag, value in named if value for word in (f"--{flag}", value)]
    moved = (data_directory() or ROOT / DIRECTORY) / ENV_FILE
    shown = (moved if data_directory() else moved.relative_to(ROOT)) if moved.exists() else ENV_FILE
    return ["--env-file", str(shown)]


async def start_build(client: Client, request: dict[str, JsonValue], workflow_id: str) -> Handle:
    """Start a build; raises UnusableRequest where the server would refuse it unread."""
    check_size(request)
    return await client.start_workflow(
        "BuildWorkflow",
        request,
        id=workflow_id,
        task_queue=TASK_QUEUE,
        task_timeout=WORKFLOW_TASK,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        static_summary=headline_of(request),
        static_details=_details(request),
        priority=_share_of(request),
    )


def _share_of(request: dict[str, JsonValue]) -> Priority:
    """Put its first steps into its user's line too; the build itself learns the weight of the plan."""
    user = request.get("user") or BuildRequest().user
    return share_of(user) if isinstance(user, str) else Priority.default


def _details(request: dict[str, JsonValue]) -> str:
    plan = request.get("build_plan")
    phases = plan.get("phases") if isinstance(plan, dict) else None
    names = (
        [str(one.get("name")) for one in phases if isinstance(one, dict)] if isinstance(phases, list) else []
    )
    lines = [headline_of(request), *(f"{n}. {name}" for n, name in enumerate(names, 1))]
    return "\n\n".join(lines)


async def start(given: Namespace, console: Console) -> int:
    """Start a build from a file or an idea, and watch it if asked to."""
    request = _request_of(given)
    client, environment = await attach()
    workflow_id = given.id or workflow_id_for(request)
    handle = await start_build(client, request, workflow_id)
    console.print(f"started {workflow_id}", style="bold")
    say_command(
        console, "workflow", "start", "--type", "BuildWorkflow", "--task-queue", TASK_QUEUE,
        "--workflow-id", workflow_id, *_input_of(given, request),
    )  # fmt: skip
    return await follow(handle, environment, console) if given.watch else 0


async def follow(handle: Handle, environment: Mapping[str, str], console: Console) -> int:
    """Show a build that was just started until it ends."""
    from starter.watching import show

    await show(handle, handle.first_execution_run_id or "", environment, console)
    return await _report(handle, console)


def _input_of(given: Namespace, request: dict[str, JsonValue]) -> list[str]:
    if given.file and request == read_request(given.file):
        return ["--input-file", str(given.file)]
    return ["--input", json.dumps(request, ensure_ascii=False)]


def _request_of(given: Namespace) -> dict[str, JsonValue]:
    request = read_request(given.file) if given.file else {}
    for name in ("idea", "project", "user", "model"):
        if value := getattr(given, name):
            request[name] = value
    if given.budget:
        request["budget_microdollars"] = microdollars_of(given.budget)
    if not (given.file or given.idea or given.project):
        raise UnusableRequest("Give a file, --idea TEXT, or --project of a stored brief.")
    return request


async def watch(given: Namespace, console: Console) -> int:
    """Show a build's events from its first on."""
    from starter.watching import show

    client, environment = await attach()
    handle = client.get_workflow_handle(given.id)
    described = await handle.describe()
    first = described.raw_description.workflow_execution_info.first_run_id or described.run_id
    await show(handle, first, environment, console)
    return await _report(handle, console)


async def _report(handle: Handle, console: Console) -> int:
    try:
        result = BuildResult.model_validate(await handle.result())
    except WorkflowFailureError as error:
        console.print(f"FAILED: {error.cause}", style="bold red", soft_wrap=True)
        return 1
    console.print(f"{result.status}: {result.message}", style="bold green", soft_wrap=True)
    return 0


async def status(given: Namespace, console: Console) -> int:
    """Print where a build stands."""
    client, _ = await attach()
    handle = client.get_workflow_handle(given.id)
    found = BuildStatus.model_validate(await handle.query("status"))
    if given.json:
        console.out(found.model_dump_json(), highlight=False)
        return 0
    console.print(f"{found.status}" + (f": {found.phase}" if found.phase else ""), style="bold")
    work = f"{found.turns} turns, {found.tool_calls} of {found.max_tool_calls} tool calls"
    console.print(", ".join(filter(None, (found.build_version, work))))
    console.print(
        f"spent {spent_of(found.spent_microdollars, found.sandbox_microdollars)}; "
        f"today {dollars(found.left_microdollars)} left of {dollars(found.allowance_microdollars)}"
    )
    if found.budget_microdollars:
        console.print(f"may spend {dollars(found.budget_microdollars)} in all")
    if found.inherited_microdollars:
        before = dollars(found.inherited_microdollars)
        console.print(f"goes on from a conversation that had cost others {before}")
    if found.wake_at:
        console.print(f"wakes at {found.wake_at:%Y-%m-%d %H:%M} UTC")
    if found.message:
        console.print(found.message, soft_wrap=True)
    say_command(console, "workflow", "query", "--workflow-id", given.id, "--type", "status")
    return 0


async def timeline(given: Namespace, console: Console) -> int:
    """Print the last steps of a build."""
    client, _ = await attach()
    entries = await client.get_workflow_handle(given.id).query("timeline", result_type=list[TimelineEntry])
    for entry in entries:
        console.print(f"{entry.at.astimezone():%m-%d %H:%M:%S}  {entry.text}", soft_wrap=True)
    say_command(console, "workflow", "query", "--workflow-id", given.id, "--type", "timeline")
    return 0


async def signal(given: Namespace, console: Console) -> int:
    """Send wake, pause, resume, say or stop."""
    client, _ = await attach()
    name = "steer" if given.command == "say" else str(given.command)
    words: list[str] = [given.text] if getattr(given, "text", None) else []
    await client.get_workflow_handle(given.id).signal(name, args=words)
    console.print(f"sent `{name}` to {given.id}")
    told = ["--input", json.dumps(words[0])] if words else []
    say_command(console, "workflow", "signal", "--workflow-id", given.id, "--name", name, *told)
    return 0


async def preview(given: Namespace, console: Console) -> int:
    """Serve the app of a finished build again."""
    client, _ = await attach()
    report = await serve(client, given.id)
    console.print(report.preview_url or report.report, soft_wrap=True)
    return 0 if report.passed else 1


async def serve(client: Client, workflow_id: str) -> ProofReport:
    """Start the app of a build's newest READY version; `passed` is false where that cannot be."""
    return ProofReport.model_validate(
        await client.execute_workflow(
            "PreviewWorkflow",
            ServePreview(workflow_id=workflow_id),
            id=f"preview-{workflow_id}",
            task_queue=TASK_QUEUE,
            static_summary=f"the app of {workflow_id}",
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        )
    )


def explain(error: Exception) -> str:
    """What a refusal of the server means for a person."""
    if isinstance(error, WorkflowAlreadyStartedError):
        return f"A build {error.workflow_id!r} is running. Choose another --id, or watch that one."
    if isinstance(error, WorkflowQueryFailedError):
        return f"The build did not answer: {error}"
    if isinstance(error, RPCError) and error.status is RPCStatusCode.NOT_FOUND:
        return f"There is no such build, or it has ended: {error.message}"
    if isinstance(error, RPCError):
        return f"The Temporal server refused: {error.message}"
    return f"The Temporal server does not answer: {error}"
