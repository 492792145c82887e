"""A build as it goes, for a person: one line an event, from the start or from where one left."""

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta

from rich.console import Console
from rich.text import Text
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle

from activities.events import Event, EventStream
from activities.settings import Settings
from workflows.texts import dollars

POLL = timedelta(seconds=1)
"""How long one read waits for an event before it looks whether the build has ended."""

ASKED = "agent.waiting_for_input"
"""Says that a build stands still until a person has mended something."""

LineOf = Callable[[Mapping[str, object]], str]


def _budget(fields: Mapping[str, object]) -> str:
    spent, left = fields.get("build_spent_microdollars"), fields.get("left_microdollars")
    if not isinstance(spent, int) or not isinstance(left, int):
        return ""
    return f"spent {dollars(spent)}, {dollars(left)} left today"


LINES: Mapping[str, tuple[str, str, LineOf]] = {
    "build.stage.started": ("▶", "bold cyan", lambda f: f"{f.get('status', '')}  {f.get('text', '')}"),
    "gsd.phase.started": ("◆", "bold magenta", lambda f: f"phase: {f.get('phase_name', '')}"),
    "gsd.phase.completed": ("◇", "magenta", lambda f: f"phase done: {f.get('phase_name', '')}"),
    "agent.thinking": ("…", "italic", lambda f: str(f.get("text", ""))),
    "agent.tool.called": ("·", "", lambda f: f"{f.get('tool_name', '')}: {f.get('tool_label', '')}"),
    "agent.budget_updated": ("$", "dim", _budget),
    "agent.sleeping": ("z", "yellow", lambda f: f"{f.get('status', '')} {f.get('text', '')}"),
    ASKED: ("?", "bold yellow", lambda f: str(f.get("text", ""))),
    "agent.retrying": (
        "r",
        "yellow",
        lambda f: f"the model does not answer ({f.get('error_type', '')}), attempt {f.get('attempt', '')}",
    ),
    "agent.waking": ("*", "yellow", lambda f: str(f.get("text", ""))),
    "agent.sandbox_restored": ("!", "yellow", lambda _: "sandbox restored"),
    "snapshot.taken": ("s", "dim", lambda f: f"snapshot {f.get('restore_point', '')}"),
    "documentation.updated": ("d", "dim", lambda f: f"guide: {f.get('section', '')}"),
}
"""Event type → mark, style, and what is said of it; other events are not shown."""


def line_of(event: Event) -> Text | None:
    """The line of an event; None for one that says nothing to a person."""
    if event.type not in LINES:
        return None
    mark, style, describe = LINES[event.type]
    if not (said := " ".join(describe(event.fields).split())):
        return None
    return Text.assemble((f"{event.at.astimezone():%H:%M:%S} ", "dim"), (f"{mark} ", style), (said, style))


async def events_of(
    handle: WorkflowHandle[object, object], build_id: str, environment: Mapping[str, str]
) -> AsyncIterator[Event]:
    """The events of a build from the first on, until it has ended and all were given."""
    settings = Settings.from_env(environment)
    after = "0"
    async with EventStream.open(settings) as stream:
        ended = False
        while True:
            found = await stream.read(build_id, after, wait=None if ended else POLL)
            for event in found:
                after = event.id
                yield event
            if ended and not found:
                return
            ended = ended or await _has_ended(handle)


async def _has_ended(handle: WorkflowHandle[object, object]) -> bool:
    described = await handle.describe()
    running = (WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.CONTINUED_AS_NEW)
    return described.status not in running


async def show(
    handle: WorkflowHandle[object, object],
    build_id: str,
    environment: Mapping[str, str],
    console: Console,
    *,
    until_asked: bool = False,
) -> str:
    """Print a build's events until it ends, or say that they cannot be read.

    With `until_asked` it ends, too, when the build waits for a person, and gives what that is asked to mend.
    """
    try:
        async for event in events_of(handle, build_id, environment):
            if line := line_of(event):
                console.print(line, soft_wrap=True)
            if until_asked and event.type == ASKED:
                return str(event.fields.get("text", ""))
    except OSError as error:
        console.print(f"The live events cannot be read ({error}); the build goes on.", style="yellow")
    return ""
