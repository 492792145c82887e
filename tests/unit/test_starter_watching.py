from datetime import UTC, datetime, timedelta
from io import StringIO
from types import SimpleNamespace

import pytest
from pydantic import JsonValue
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from rich.console import Console
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse
from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from activities.events import Event, EventStream
from activities.settings import Settings
from starter.waiting import Waits
from starter.watching import LINES, Retelling, Watch, line_of

NOON = datetime(2026, 3, 1, 12, 0, 5, tzinfo=UTC)


def said(kind: str, **fields: JsonValue) -> str | None:
    """The line without its time."""
    line = line_of(Event(id="1-0", type=kind, at=NOON, fields=fields))
    return line.plain.partition(" ")[2] if line else None


SHOWN: list[tuple[str, dict[str, JsonValue], str]] = [
    ("build.stage.started", {"status": "CODE", "text": "code"}, "▶ CODE code"),
    ("gsd.phase.started", {"phase_name": "Tracking"}, "◆ phase: Tracking"),
    ("gsd.phase.completed", {"phase_name": "Tracking"}, "◇ phase done: Tracking"),
    ("agent.thinking", {"text": "I begin.\nNow."}, "… I begin. Now."),
    ("agent.tool.called", {"tool_name": "bash", "tool_label": "npm test"}, "· bash: npm test"),
    (
        "agent.budget_updated",
        {"build_spent_microdollars": 1_250_000, "left_microdollars": 2_000_000},
        "$ spent $1.25, $2.00 left today",
    ),
    (
        "agent.sleeping",
        {"status": "SLEEPING", "text": "until 2026-03-02 00:00 UTC"},
        "z SLEEPING until 2026-03-02 00:00 UTC",
    ),
    ("agent.waiting_for_input", {"text": "Mend the key."}, "? Mend the key."),
    (
        "agent.retrying",
        {"error_type": "OverloadedError", "attempt": 3},
        "r the model does not answer (OverloadedError), attempt 3",
    ),
    ("agent.waking", {"text": "it is time"}, "* it is time"),
    ("agent.sandbox_restored", {}, "! sandbox restored"),
    ("snapshot.taken", {"restore_point": 7}, "s snapshot 7"),
    ("documentation.updated", {"section": "faq"}, "d guide: faq"),
]


@pytest.mark.parametrize(
    ("kind", "fields", "line"), SHOWN, ids=lambda one: one if isinstance(one, str) else ""
)
def test_an_event_becomes_a_line(kind: str, fields: dict[str, JsonValue], line: str):
    """A mark, and what happened, on one line."""
    assert line == said(kind, **fields)


def test_every_shown_event_is_tested():
    """A new one is added above."""
    assert sorted(LINES) == sorted(kind for kind, _, _ in SHOWN)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("agent.unheard_of", {"text": "x"}),
        ("agent.budget_updated", {}),
        ("agent.budget_updated", {"build_spent_microdollars": "1", "left_microdollars": None}),
        ("agent.thinking", {"text": " \n"}),
    ],
)
def test_what_says_nothing_is_not_shown(kind: str, fields: dict[str, JsonValue]):
    """Unknown events, numbers that are missing, empty texts."""
    assert said(kind, **fields) is None


@pytest.mark.parametrize("kind", LINES)
def test_no_event_breaks_the_watching(kind: str):
    """A newer worker may name its fields otherwise."""
    assert "\n" not in (said(kind, other=["x"]) or "")


def test_a_line_begins_with_the_local_time():
    """Of the person who watches."""
    line = line_of(Event(id="1-0", type="agent.waking", at=NOON, fields={"text": "woken"}))

    assert line is not None
    assert f"{NOON.astimezone():%H:%M:%S} * woken" == line.plain


def test_an_agent_s_text_is_no_markup():
    """What a model writes in brackets is shown as it is."""
    assert "… [bold]see[/bold] [1]" == said("agent.thinking", text="[bold]see[/bold] [1]")


@pytest.mark.parametrize(
    ("first", "then", "marked"),
    [
        ({"turn": 1, "call": "5.1"}, {"turn": 1, "call": "5.2"}, True),
        ({"turn": 1, "call": "5.1"}, {"turn": 1, "call": "9.1"}, True),
        ({"turn": 1, "call": "5.1"}, {"turn": 1, "call": "5.1"}, False),
        ({"turn": 1, "call": "5.1"}, {"turn": 2, "call": "9.1"}, False),
        ({"turn": 1}, {"turn": 1}, False),
        ({"turn": 1, "call": "5.1"}, {"call": "7.1"}, False),
    ],
)
def test_a_reply_that_is_told_anew_is_marked(first: dict, then: dict, marked: bool):  # noqa: FBT001 a case
    """A retry after a cut line or a killed worker, or another call after a word of the founder."""
    retelling = Retelling()
    events = [Event(id="1-0", type="agent.thinking", at=NOON, fields=each) for each in (first, then, then)]
    lines = [retelling.line_before(event) for event in events]

    assert [False, marked, False] == [line is not None for line in lines]


# --- a build that stands still, or whose events cannot be read ------------------------------------------

RUNNING, COMPLETED = WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.COMPLETED


def pending(name: str, *, attempt: int, failure: str = "", activity_id: str = "1") -> PendingActivityInfo:
    """An activity as the server tells of it."""
    one = PendingActivityInfo(activity_id=activity_id, attempt=attempt)
    one.activity_type.name = name
    if failure:
        one.last_failure.message = failure
    return one


class Stream:
    """Gives what it was given, one a read; an error is raised."""

    def __init__(self, *reads: list[Event] | Exception) -> None:
        self._reads = [*reads]

    async def gone(self, build_id: str) -> int:
        return 0

    async def read(self, build_id: str, after: str = "0", *, wait: timedelta | None = None) -> list[Event]:
        found = self._reads.pop(0) if self._reads else []
        if isinstance(found, Exception):
            raise found
        return found


class Handle:
    """A build that is running at each look but the last."""

    def __init__(self, *looks: list[PendingActivityInfo], statuses: tuple[dict[str, str], ...] = ()) -> None:
        self._looks = [*looks]
        self._statuses = [*statuses]

    async def describe(self):
        response = DescribeWorkflowExecutionResponse(pending_activities=self._looks.pop(0))
        status = RUNNING if self._looks else COMPLETED
        return SimpleNamespace(status=status, raw_description=response)

    async def query(self, name: str, *, rpc_timeout: timedelta):
        if not self._statuses:
            raise RPCError("no worker", RPCStatusCode.DEADLINE_EXCEEDED, b"")
        return self._statuses.pop(0)


async def watched(
    stream: Stream | EventStream, handle: Handle, *, until_asked: bool = False
) -> tuple[str, list[str]]:
    """What is asked of a person, and the lines that were shown."""
    console = Console(file=StringIO(), width=400)
    watch = Watch(handle, stream, "id", console, poll=timedelta(0))
    asked = await watch.until_end(until_asked=until_asked)
    return asked, console.file.getvalue().splitlines()


def retrying(attempt: int) -> Event:
    """The event of a model that does not answer."""
    return Event(
        id="1-0", type="agent.retrying", at=NOON, fields={"error_type": "XError", "attempt": attempt}
    )


@pytest.mark.parametrize("error", [RedisConnectionError("away"), RedisTimeoutError(), OSError("refused")])
async def test_without_live_events_the_build_itself_is_asked(error: Exception):
    """It is said once, and the watching goes on to the end."""
    statuses = ({"status": "CODE", "stage": "CODE"},) * 2 + ({"status": "DEPS", "stage": "DEPS"},)
    _, shown = await watched(Stream(*[error] * 9), Handle([], [], [], [], statuses=statuses))

    assert ["CODE", "DEPS"] == shown[1:]
    assert "live events cannot be read" in shown[0]
    assert "the build goes on" in shown[0]


async def test_a_redis_that_cannot_be_reached_ends_no_watching():
    """The real client's own error is among those that are waited out."""
    settings = Settings.from_env({"REDIS_URL": "redis://:hunter2@127.0.0.1:1/0"})
    async with EventStream.open(settings) as stream:
        _, shown = await watched(stream, Handle([], []))

    assert "live events cannot be read" in shown[0]
    assert "hunter2" not in " ".join(shown)


async def test_events_that_come_back_are_shown_again():
    """From where they could not be read any more."""
    event = Event(id="1-0", type="agent.waking", at=NOON, fields={"text": "woken"})
    _, shown = await watched(Stream(RedisConnectionError(), [event]), Handle([], [], []))

    assert 2 == len(shown)
    assert shown[1].endswith("* woken")


async def test_a_question_is_seen_without_events():
    """A demo would wait for ever."""
    status = {"status": "WAITING_FOR_YOU", "stage": "CODE", "message": "Mend the key."}
    stream = Stream(*[RedisConnectionError()] * 9)
    asked, _ = await watched(stream, Handle([], [], [], statuses=(status,)), until_asked=True)

    assert "Mend the key." == asked


@pytest.mark.parametrize("name", ["create_sandbox", "call_model"])
async def test_what_a_build_waits_for_is_said(name: str):
    """Each failure once, by activity, attempt and reason."""
    first, second = (pending(name, attempt=n, failure=f"away {n}") for n in (2, 3))
    _, shown = await watched(Stream(), Handle([first], [first], [second], []))

    assert [f"waits for {name}, attempt {n} failed: away {n + 1}" for n in (1, 2)] == shown


async def test_a_failure_of_the_model_is_told_once():
    """By its event or by the server, whichever comes first."""
    failing = pending("call_model", attempt=2, failure="away")
    _, by_event = await watched(Stream([retrying(1)]), Handle([failing], [failing], []))
    _, by_server = await watched(Stream([], [retrying(1)]), Handle([failing], [failing], []))

    assert (1, 1) == (len(by_event), len(by_server))


async def test_a_later_call_that_fails_alike_is_told_again():
    """Each turn is another wait."""
    calls = [pending("call_model", attempt=2, failure="away", activity_id=n) for n in "12"]
    _, shown = await watched(Stream(), Handle([calls[0]], [calls[1]], [], []))

    assert 2 == len(shown)


def test_what_neither_ends_nor_fails_is_said_after_a_silence():
    """A server that swallows what it is sent fails late."""
    clock = [0.0]
    waits = Waits(now=lambda: clock[0])
    silent = [pending("create_sandbox", attempt=1)]
    said = []
    for clock[0] in (1.0, 16.0, 17.0, 40.0):
        said.append(waits.lines(silent))

    assert [[], ["waits for create_sandbox, which has not ended yet"], [], []] == said
