"""A build as it goes, for a person: one line an event, from the start or from where one left."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta

from pydantic import JsonValue
from redis.exceptions import RedisError
from rich.console import Console
from rich.text import Text
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle, WorkflowQueryFailedError
from temporalio.service import RPCError

from activities.events import Event, EventStream
from activities.settings import Settings
from starter.waiting import Waits
from workflows.models import BuildStatus
from workflows.state import Rest
from workflows.texts import dollars

POLL = timedelta(seconds=1)
"""How long one read waits for an event before it looks whether the build has ended."""

THINKING = "agent.thinking"
"""Tells a sentence of the model."""
ASKED = "agent.waiting_for_input"
"""Says that a build stands still until a person has mended something."""
RETRYING = "agent.retrying"
MODEL = "call_model"
"""The activity that a `RETRYING` is about: the server tells of the same failure."""
PATIENCE = timedelta(seconds=5)
"""How long a build may take to say where it stands."""

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
    RETRYING: (
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


class Watch:
    """One person's look at a build: what was shown of it, and what comes next."""

    def __init__(
        self,
        handle: WorkflowHandle[object, object],
        stream: EventStream,
        build_id: str,
        console: Console,
        *,
        poll: timedelta = POLL,
    ) -> None:
        self._handle = handle
        self._stream = stream
        self._build_id = build_id
        self._console = console
        self._poll = poll
        self._after = "0"
        self._is_blind = False
        self._status = ""
        self._waits = Waits()
        self._retelling = Retelling()

    async def until_end(self, *, until_asked: bool) -> str:
        """Show the build until it has ended and all was shown, or until it asks; gives what it asks."""
        await self._tell_what_is_gone()
        ended = False
        while True:
            events = await self._events(wait=not ended)
            asked = [self._tell(event) for event in events]
            if not ended:
                ended = await self._look()
                asked += [await self._ask()] if self._is_blind and not ended else []
            elif not events:
                return ""
            if until_asked and any(asked):
                return next(filter(None, asked))

    async def _tell_what_is_gone(self) -> None:
        with suppress(RedisError, OSError):  # the first read says so
            if count := await self._stream.gone(self._build_id):
                self._say(missing(count))

    async def _events(self, *, wait: bool) -> list[Event]:
        try:
            found = await self._stream.read(self._build_id, self._after, wait=self._poll if wait else None)
        except (RedisError, OSError) as error:
            if not self._is_blind:
                self._say(
                    f"The live events cannot be read ({type(error).__name__}); the build goes on, and is "
                    "asked where it stands. `make doctor` tells of REDIS_URL."
                )
            self._is_blind = True
            await asyncio.sleep(self._poll.total_seconds())
            return []
        self._is_blind = False
        self._after = found[-1].id if found else self._after
        return found

    def _tell(self, event: Event) -> str:
        """Show an event, and give what a person is asked by it."""
        attempt = event.fields.get("attempt")
        known = (
            event.type == RETRYING and isinstance(attempt, int) and self._waits.told_by_event(MODEL, attempt)
        )
        for line in () if known else filter(None, (self._retelling.line_before(event), line_of(event))):
            self._console.print(line, soft_wrap=True)
            self._waits.heard()
        return str(event.fields.get("text", "")) if event.type == ASKED else ""

    async def _look(self) -> bool:
        """Show what the build waits for; tells whether it has ended."""
        described = await self._handle.describe()
        for line in self._waits.lines(described.raw_description.pending_activities):
            self._say(line)
        running = (WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.CONTINUED_AS_NEW)
        return described.status not in running

    async def _ask(self) -> str:
        """Show the build's own word on where it stands, and give what it asks of a person."""
        try:
            answer = await self._handle.query("status", rpc_timeout=PATIENCE)
        except (RPCError, WorkflowQueryFailedError):
            return ""
        found = BuildStatus.model_validate(answer)
        said = ": ".join(filter(None, (found.status, found.phase, found.message)))
        if said != self._status:
            self._say(said)
        self._status = said
        return found.message if found.status == Rest.ASKING else ""

    def _say(self, line: str) -> None:
        self._console.print(line, style="yellow", markup=False, soft_wrap=True)


async def show(
    handle: WorkflowHandle[object, object],
    build_id: str,
    environment: Mapping[str, str],
    console: Console,
    *,
    until_asked: bool = False,
) -> str:
    """Print a build as it goes until it ends, without its live events where these cannot be read.

    With `until_asked` it ends, too, when the build waits for a person, and gives what that is asked to mend.
    """
    async with EventStream.open(Settings.from_env(environment)) as stream:
        return await Watch(handle, stream, build_id, console).until_end(until_asked=until_asked)
