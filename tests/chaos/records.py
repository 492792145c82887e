"""What the database kept of a build: its calls with their results, what the model was told, its money."""

import json
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

TRANSCRIPT = "SELECT id, role, body FROM transcript WHERE build_id = :b ORDER BY id"
RESULTS = """SELECT r.head_id, r.tool_use_id, r.body, r.is_error, r.generation,
    extract(epoch FROM r.created_at)::float8 AS at
    FROM tool_results r JOIN transcript t ON t.id = r.head_id WHERE t.build_id = :b"""
LEDGER = "SELECT kind, state, message_id, reply_id, cost, request_id FROM ledger WHERE build_id = :b"
BUILD = "SELECT spent FROM builds WHERE id = :b"
CUT = ("Interrupted: the sandbox was lost", "The command was interrupted")
"""How the answer of a call begins whose effect nobody knows."""
CHANGING = ("bash", "write_file", "edit_file")


@dataclass(frozen=True)
class Call:
    """A tool call, and its one result."""

    tool_use_id: str
    tool: str
    input: dict[str, Any]
    turn: int
    answer: str | None
    is_error: bool
    generation: int
    at: float
    """When the result was written, seconds since the epoch."""

    @property
    def is_cut(self) -> bool:
        """Whether it was answered that it was interrupted."""
        return self.answer is not None and self.answer.startswith(CUT)

    @property
    def label(self) -> str:
        """As the model is told of it when it is undone."""
        said = self.input.get("command") or self.input.get("path") or ""
        return f"{self.tool}: {' '.join(said.split())[:200]}"


@dataclass
class Records:
    """One build."""

    calls: list[Call] = field(default_factory=list)
    """In the order of the model's words."""
    losses: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)
    """Turn after which the model heard of a lost sandbox, and the calls that it was told are undone."""
    replies: int = 0
    ledger: list[Any] = field(default_factory=list)
    build: Any = None


async def read(connection: AsyncConnection, build_id: str) -> Records:
    """Read a build's rows."""

    async def rows(query: str) -> list[Any]:
        return list(await connection.execute(text(query), {"b": build_id}))

    results = {(row.head_id, row.tool_use_id): row for row in await rows(RESULTS)}
    records = Records(ledger=await rows(LEDGER), build=(await rows(BUILD))[0])
    for row in await rows(TRANSCRIPT):
        blocks = json.loads(row.body)
        if row.role == "assistant":
            records.replies += 1
            uses = [block for block in blocks if block["type"] == "tool_use"]
            records.calls += [_call(use, results.get((row.id, use["id"])), records.replies) for use in uses]
        elif row.role == "user":
            said = (block["text"] for block in blocks if block["type"] == "text")
            records.losses += [(records.replies, told) for words in said for told in _undone(words)]
    return records


def _call(use: dict[str, Any], result: Any, turn: int) -> Call:
    if result is None:
        return Call(use["id"], use["name"], use["input"], turn, None, False, 0, 0.0)
    content = json.loads(result.body)["content"]
    words = content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
    return Call(
        use["id"], use["name"], use["input"], turn, words, result.is_error, result.generation, result.at
    )


def _undone(words: str) -> list[tuple[str, ...]]:
    """Read the undone calls out of what was told of a lost sandbox."""
    if not words.startswith("[sandbox] The sandbox was lost"):
        return []
    _, _, listed = words.partition("These finished calls were undone:\n")
    lines = takewhile(lambda line: line.startswith("- "), listed.splitlines())
    return [tuple(line.removeprefix("- ") for line in lines)]
