"""A run's history, read turn by turn: events, bytes, and where the time went."""

import re
from collections.abc import AsyncIterable, Iterable
from dataclasses import dataclass, field
from statistics import median

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from bench.systems import System

CLOSED = {
    EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED: "activity_task_completed_event_attributes",
    EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED: "activity_task_failed_event_attributes",
    EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT: "activity_task_timed_out_event_attributes",
    EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED: "activity_task_canceled_event_attributes",
}
WINDOW = 20
"""Turns that a median is taken over."""


@dataclass(slots=True)
class Span:
    """One activity, from its start to its report; seconds."""

    name: str
    started: float = 0.0
    closed: float = 0.0


@dataclass(slots=True)
class Turn:
    """From one call of the model being scheduled to the next."""

    model: Span
    tools: list[Span] = field(default_factory=list)
    events: int = 0
    size: int = 0
    """Bytes of its events."""


@dataclass(slots=True)
class Read:
    """All runs of one workflow id, as one."""

    events: int = 0
    """Before the first turn."""
    size: int = 0
    turns: list[Turn] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    """When each closed activity was started, for the last time."""

    async def take(self, events: AsyncIterable[HistoryEvent], system: System) -> None:
        """Read one run's events on."""
        scheduled: dict[int, Span] = {}
        started: dict[int, float] = {}
        async for event in events:
            at = event.event_time.ToMicroseconds() / 1e6
            if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
                name = event.activity_task_scheduled_event_attributes.activity_type.name
                self._schedule(scheduled.setdefault(event.event_id, Span(name)), system)
            elif event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED:
                started[event.activity_task_started_event_attributes.scheduled_event_id] = at
                self.starts.append(at)
            elif attribute := CLOSED.get(event.event_type):
                span = scheduled[getattr(event, attribute).scheduled_event_id]
                span.started = started.get(getattr(event, attribute).scheduled_event_id, at)
                span.closed = at
            self._count(event.ByteSize())

    def _schedule(self, span: Span, system: System) -> None:
        if re.search(system.model, span.name):
            self.turns.append(Turn(span))
        elif re.search(system.tool, span.name) and self.turns:
            self.turns[-1].tools.append(span)

    def _count(self, size: int) -> None:
        of = self.turns[-1] if self.turns else self
        of.events += 1
        of.size += size

    @property
    def done(self) -> int:
        """Turns whose model call was answered."""
        return sum(turn.model.closed > 0 for turn in self.turns)

    def at(self, turns: int) -> dict[str, float | int]:
        """Where the run stood after so many turns, and what the last of them cost."""
        upto = self.turns[:turns]
        last = upto[-WINDOW:]
        following = self.turns[len(upto) - len(last) + 1 : turns + 1]
        pairs = list(zip(last, following, strict=False))
        return {
            "history_events": self.events + sum(turn.events for turn in upto),
            "history_bytes": self.size + sum(turn.size for turn in upto),
            "bytes_a_turn": round(sum(turn.size for turn in last) / len(last)),
            "wall_s": round(max(turn.model.closed for turn in upto) - upto[0].model.started, 2),
            "turn_p50_ms": _median_ms(overhead(*pair) for pair in pairs),
            "model_p50_ms": _median_ms(turn.model.closed - turn.model.started for turn in last),
            "tool_p50_ms": _median_ms(_covered(turn.tools) for turn in last),
        }


def overhead(turn: Turn, following: Turn) -> float:
    """Seconds from the start of a turn's model call to the next one's in which neither model nor tool ran."""
    spent = following.model.started - turn.model.started
    return spent - (turn.model.closed - turn.model.started) - _covered(turn.tools)


def _covered(spans: list[Span]) -> float:
    """Seconds covered by at least one of the spans."""
    total, end = 0.0, 0.0
    for span in sorted(spans, key=lambda one: one.started):
        total += max(0.0, span.closed - max(span.started, end))
        end = max(end, span.closed)
    return total


def _median_ms(seconds: Iterable[float]) -> float:
    known = list(seconds)
    return round(median(known) * 1000, 2) if known else 0.0
