from datetime import UTC, datetime

import pytest
from pydantic import JsonValue

from activities.events import Event
from starter.watching import LINES, Retelling, line_of

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
