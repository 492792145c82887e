"""A conversation as a script sees it: what was asked of which tool, what came back, and what people said."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from starter.local.model.prefix import blocks_of
from starter.local.model.values import Json, items

TOOL_ID = "toolu"
_UNFINISHED = re.compile(r"\binterrupted\b|\bnot run\b", re.IGNORECASE)
_NUDGE, _VERDICT = "[nightshift]", "[checks]"
_DIRECTIVE = re.compile(r"\[\[script:([a-z_]+)((?:\s+[a-z_]+=[^\s\]]+)*)\s*\]\]")


@dataclass(frozen=True)
class Call:
    """One tool call and its result."""

    step: str
    """The script step that asked for it, read back from its id."""
    name: str
    input: Json
    turn: int
    """Which assistant message, from 0."""
    result: str | None = None
    """The text of its result; None while unanswered."""
    is_error: bool = False

    @property
    def interrupted(self) -> bool:
        """Whether it may not have happened, or not to the end."""
        return self.is_error and bool(_UNFINISHED.search(self.result or ""))

    @property
    def ok(self) -> bool:
        """Whether it was answered without an error."""
        return self.result is not None and not self.is_error


@dataclass(frozen=True)
class Conversation:
    """The request's conversation, reduced to what scripts decide on."""

    brief: str
    """The first user message."""
    system: str
    """The system prompt."""
    calls: tuple[Call, ...]
    notes: tuple[tuple[int, str], ...]
    """What users said after the first message: the number of assistant messages before it, and the text."""
    turns: int
    """Assistant messages so far."""
    rounds: int
    """Reports of being done: assistant messages without a tool call, not answered by a nudge to go on."""
    tools: frozenset[str]
    """The tools on offer."""

    @cached_property
    def directive(self) -> tuple[str, dict[str, str]]:
        """The script named in the brief and its arguments; empty where none is named."""
        found = _DIRECTIVE.search(f"{self.brief}\n{self.system}")
        if found is None:
            return "", {}
        pairs = [pair.partition("=") for pair in found.group(2).split()]
        return found.group(1), {key: value for key, _, value in pairs}

    def argument(self, name: str, default: int) -> int:
        """Return a whole-number argument of the directive."""
        text = self.directive[1].get(name, "")
        return int(text) if text.isdigit() else default

    def of(self, step: str) -> list[Call]:
        """Return the calls that a step asked for."""
        return [call for call in self.calls if call.step == step]

    def attempts(self, step: str) -> int:
        """Return how many turns issued the step."""
        return len({call.turn for call in self.of(step)})

    def result(self, step: str) -> str:
        """Return the text of the step's newest results."""
        calls = self.of(step)
        return "\n".join(call.result or "" for call in calls if call.turn == calls[-1].turn)

    def answered(self, step: str) -> bool:
        """Whether the step's newest calls all came back, none interrupted."""
        calls = self.of(step)
        newest = [call for call in calls if call.turn == calls[-1].turn]
        return bool(newest) and not any(call.interrupted or call.result is None for call in newest)

    @property
    def last_calls(self) -> list[Call]:
        """The calls of the newest assistant message."""
        return [call for call in self.calls if call.turn == self.turns - 1]

    @property
    def last_note(self) -> str:
        """What was said since the newest assistant message."""
        return "\n".join(text for turn, text in self.notes if turn == self.turns)


def read_conversation(body: Json) -> Conversation:
    """Return the conversation of a request body."""
    messages: list[Json] = body["messages"]
    results = {block["tool_use_id"]: block for block in _blocks(messages, "user", "tool_result")}
    replies = [message for message in messages if message["role"] == "assistant"]
    return Conversation(
        brief=_text(messages[0]["content"]),
        system=_text(body.get("system")),
        calls=tuple(_calls(replies, results)),
        notes=tuple(_notes(messages)),
        turns=len(replies),
        rounds=sum(_is_report(messages, index) for index in range(len(messages))),
        tools=frozenset(str(tool["name"]) for tool in items(body, "tools")),
    )


def _is_report(messages: list[Json], index: int) -> bool:
    message = messages[index]
    if message["role"] != "assistant" or any(
        block["type"] == "tool_use" for block in blocks_of(message["content"])
    ):
        return False
    answer = _text(messages[index + 1]["content"])
    return _NUDGE not in answer or _VERDICT in answer


def _calls(replies: list[Json], results: dict[str, Json]) -> Iterator[Call]:
    for turn, message in enumerate(replies):
        for block in blocks_of(message["content"]):
            if block["type"] == "tool_use":
                yield _call(block, results.get(block["id"]), turn)


def _call(block: Json, result: Json | None, turn: int) -> Call:
    parts = str(block["id"]).split("_")
    return Call(
        step=parts[1] if parts[0] == TOOL_ID else "",
        name=block["name"],
        input=block["input"],
        turn=turn,
        result=None if result is None else _text(result.get("content")),
        is_error=bool(result and result.get("is_error")),
    )


def _notes(messages: list[Json]) -> Iterator[tuple[int, str]]:
    turn = 0
    for index, message in enumerate(messages):
        turn += message["role"] == "assistant"
        if index and message["role"] != "assistant":
            for block in blocks_of(message["content"]):
                if block["type"] == "text":
                    yield turn, str(block["text"])


def _blocks(messages: list[Json], role: str, kind: str) -> Iterator[Json]:
    for message in messages:
        if message["role"] == role:
            yield from (block for block in blocks_of(message["content"]) if block["type"] == kind)


def _text(content: Any) -> str:
    return "\n".join(str(block["text"]) for block in blocks_of(content) if block.get("type") == "text")
