"""A build as it goes, for a person: one line an event, from the start or from where one left."""

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta

from pydantic import JsonValue
from rich.console import Console
from rich.text import Text
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle

from activities.events import Event, EventStream
from activities.settings import Settings
from workflows.texts import dollars

POLL = timedelta(seconds=1)
"""How long one read waits for an event before it looks whether the build has ended."""

THINKING = "agent.thinking"
"""Tells a sentence of the model."""
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
    THINKING: ("…", "italic", lambda f: str(f.get("text", ""))),
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
    return _line(event, mark, style, said)


def _line(event: Event, mark: str, style: str, said: str) -> Text:
    return Text.assemble((f"{event.at.astimezone():%H:%M:%S} ", "dim"), (f"{mark} ", style), (said, style))


class Retelling:
    """Notices that a reply is told anew: its turn is the same, and the call that tells it another."""

    def __init__(self) -> None:
        self._told: tuple[JsonValue, JsonValue] = (None, None)

    def line_before(self, event: Event) -> Text | None:
        """The line that says so, before the first event of such a telling."""
        told = (event.fields.get("turn"), event.fields.get("call"))
        if event.type != THINKING or None in told:
            return None
        before, self._told = self._told, told
        if before[0] != told[0] or before[1] == told[1]:
            return None
        return _line(event, "r", "yellow", "the model is asked again; what follows may repeat what it said")


def missing(count: int) -> str:
    """Say that the beginning is not kept any more."""
    return f"{count} earlier events of this build are gone; `timeline` tells its last steps"


async def events_of(
    handle: WorkflowHandle[object, object], build_id: str, stream: EventStream
) -> AsyncIterator[Event]:
    """The events of a build from the first that is kept, until it has ended and all were given."""
    after, ended = "0", False
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
        async with EventStream.open(Settings.from_env(environment)) as stream:
            return await _show(handle, build_id, stream, console, until_asked=until_asked)
    except OSError as error:
        console.print(f"The live events cannot be read ({error}); the build goes on.", style="yellow")
    return ""


async def _show(
    handle: WorkflowHandle[object, object],
    build_id: str,
    stream: EventStream,
    console: Console,
    *,
    until_asked: bool,
) -> str:
    if count := await stream.gone(build_id):
        console.print(missing(count), style="yellow", soft_wrap=True)
    retelling = Retelling()
    async for event in events_of(handle, build_id, stream):
        for line in (retelling.line_before(event), line_of(event)):
            if line:
                console.print(line, soft_wrap=True)
        if until_asked and event.type == ASKED:
            return str(event.fields.get("text", ""))
    return ""
