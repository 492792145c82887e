"""A request to the model, made from rows of the transcript. Pure; adds only cache marks to what is stored."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from temporalio.exceptions import ApplicationError

from activities.rows import Row, dump
from activities.transcript import ToolResult
from workflows.catalogue import is_changing, label
from workflows.payload import PREVIEW_CHARS
from workflows.turns import ToolCall

MARK = {"cache_control": {"type": "ephemeral"}}
"""Says: what comes up to here may be cached. A request may hold four."""
MARKED_MESSAGES = 2
"""How many of the newest user messages end in a mark: the older is where the last request wrote its cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """What is sent, in the vendor's shape."""

    tools: list[Any]
    system: list[Any]
    messages: list[Any]


def render(path: Sequence[Row], question: str) -> Conversation:
    """Render a path and the next user message; a reply without content is left out, as the API refuses it."""
    prefix = json.loads(path[0].body)
    turns = [(row.role, row.body) for row in path[1:]]
    if question:
        turns.append(("user", question))
    messages: list[dict[str, Any]] = [
        {"role": role, "content": json.loads(body)} for role, body in turns if body != "[]"
    ]
    for message in [each for each in messages if each["role"] == "user"][-MARKED_MESSAGES:]:
        message["content"][-1] |= MARK
    prefix["tools"][-1] |= MARK
    prefix["system"][-1] |= MARK
    return Conversation(tools=prefix["tools"], system=prefix["system"], messages=messages)


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
