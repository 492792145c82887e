"""A request to the model, made from rows of the transcript. Pure; adds only cache marks to what is stored."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from temporalio.exceptions import ApplicationError

from activities.prices import Lifetime
from activities.rows import Row, dump
from activities.transcript import ToolResult
from workflows.catalogue import is_changing, label
from workflows.payload import PREVIEW_CHARS
from workflows.turns import ToolCall

MARKS: dict[Lifetime, dict[str, Any]] = {
    "5m": {"cache_control": {"type": "ephemeral"}},
    "1h": {"cache_control": {"type": "ephemeral", "ttl": "1h"}},
}
"""Says: what comes up to here may be cached. A request may hold four, the longer-lived first."""
MARKED_MESSAGES = 2
"""How many of the newest user messages end in a mark: the older is where the last request wrote its cache."""
SPACING = 15
"""Blocks after which a long turn gets a mark of its own: the cache looks back 20 blocks from a mark."""
SLOW_SECONDS = 240
"""A command that may take so long outlives a cache of five minutes."""
SLOW_REPLIES = 3
"""How many of the newest replies are looked at for slow commands."""
_THINKING = frozenset({"thinking", "redacted_thinking"})
"""Blocks that take no mark, and that only the model which signed them can read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """What is sent, in the vendor's shape."""

    tools: list[Any]
    system: list[Any]
    messages: list[Any]


def render(
    path: Sequence[Row],
    question: str,
    *,
    lifetime: Lifetime = "5m",
    foreign: Collection[int] = (),
) -> Conversation:
    """Render a path and the next user message; a reply without content is left out, as the API refuses it.

    `foreign` are the replies of other models, whose thinking is left out: what one model is sent still only
    grows, however often it takes turns with another.
    """
    prefix = json.loads(path[0].body)
    turns = [(row.role, _readable(row, foreign)) for row in path[1:]]
    if question:
        turns.append(("user", json.loads(question)))
    messages: list[dict[str, Any]] = [
        {"role": role, "content": content} for role, content in turns if content
    ]
    for block in _marked(prefix, messages):
        block.update(MARKS[lifetime])
    return Conversation(tools=prefix["tools"], system=prefix["system"], messages=messages)


def lifetime_after(path: Sequence[Row]) -> Lifetime:
    """Choose how long the cache must live: an hour while the newest replies run slow commands."""
    replies = [row for row in path if row.role == "assistant"][-SLOW_REPLIES:]
    return "1h" if any(_is_slow(block) for row in replies for block in tool_uses(row.body)) else "5m"


def next_question(head: Row, results: Mapping[str, ToolResult], notes: Sequence[str]) -> str:
    """Give the JSON text of the user message that follows `head`: tool results in call order, then notes.

    Empty when `head` is itself a question and nothing is to be added.
    """
    blocks = [json.loads(body) for body in _results(head, results)]
    blocks += [{"type": "text", "text": note} for note in notes if note.strip()]
    if not blocks and head.role == "assistant":
        raise _bug(f"Reply {head.id} asks for no tool and there is no note to answer it with.")
    return dump(blocks) if blocks else ""


def tool_uses(body: str) -> list[dict[str, Any]]:
    """Give the tool_use blocks of a reply, in its order."""
    return [block for block in json.loads(body) if block.get("type") == "tool_use"]


def tool_calls(body: str) -> tuple[ToolCall, ...]:
    """Give the tool calls of a reply as the workflow holds them: by reference, with what a person reads."""
    return tuple(_tool_call(block) for block in tool_uses(body))


def preview(body: str, calls: Sequence[ToolCall]) -> str:
    """Give the start of what a reply says to people, else what it does."""
    said = "\n".join(block["text"] for block in json.loads(body) if block.get("type") == "text")
    return (" ".join(said.split()) or "; ".join(call.label for call in calls))[:PREVIEW_CHARS]


def _readable(row: Row, foreign: Collection[int]) -> list[dict[str, Any]]:
    content = json.loads(row.body)
    if row.id not in foreign:
        return content
    return [block for block in content if block.get("type") not in _THINKING]


def _marked(prefix: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Choose up to four blocks to mark: system, where the last request ended, this one's end, and a spare.

    The spare breaks up a long turn; otherwise it ends the tools, which other system prompts may share.
    """
    blocks = [block for message in messages for block in message["content"]]
    lengths = accumulate(len(message["content"]) for message in messages)
    ends = [
        length - 1 for message, length in zip(messages, lengths, strict=True) if message["role"] == "user"
    ][-MARKED_MESSAGES:]
    begin = ends[0] + 1 if len(ends) > 1 else 0
    spare = _spare(blocks[begin : ends[-1]]) or prefix["tools"][-1]
    return [spare, prefix["system"][-1], *(blocks[end] for end in ends)]


def _spare(turn: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Give the block of a long turn that gets a mark of its own; none in a short one."""
    if len(turn) < SPACING:
        return None
    return next((block for block in reversed(turn[:SPACING]) if block["type"] not in _THINKING), None)


def _is_slow(block: Mapping[str, Any]) -> bool:
    given = block["input"]
    seconds = given.get("timeout_seconds")
    is_long = isinstance(seconds, (int, float)) and seconds >= SLOW_SECONDS
    return block["name"] == "bash" and (is_long or given.get("background") is True)


def _tool_call(block: dict[str, Any]) -> ToolCall:
    name, given = str(block["name"]), block["input"]
    named = json.dumps([name, given], sort_keys=True)
    return ToolCall(
        tool_use_id=block["id"],
        tool=name,
        label=label(name, given),
        changing=is_changing(name),
        digest=hashlib.sha256(named.encode()).hexdigest()[:16],
    )


def _results(head: Row, results: Mapping[str, ToolResult]) -> list[str]:
    if head.role != "assistant":
        return []
    asked = [block["id"] for block in tool_uses(head.body)]
    if missing := [tool_use_id for tool_use_id in asked if tool_use_id not in results]:
        raise _bug(f"Reply {head.id} has tool calls without a result: {', '.join(missing)}.")
    return [results[tool_use_id].body for tool_use_id in asked]


def _bug(text: str) -> ApplicationError:
    return ApplicationError(f"{text} This is a bug of ours.", type="InvalidTranscript", non_retryable=True)
