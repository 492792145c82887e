"""What the database kept of a build: its calls with their results, what the model was told, its money."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

TRANSCRIPT = """WITH RECURSIVE path AS (
    SELECT id, parent_id FROM transcript WHERE id = (SELECT max(id) FROM transcript WHERE build_id = :b)
    UNION ALL SELECT t.id, t.parent_id FROM transcript t JOIN path p ON t.id = p.parent_id)
    SELECT t.id, t.role, t.body, t.build_id = :b AS is_own, p.id IS NOT NULL AS is_on_path
    FROM transcript t LEFT JOIN path p ON p.id = t.id
    WHERE t.build_id = :b OR p.id IS NOT NULL ORDER BY t.id"""
"""The build's rows, and those that it shares: the newest is always on the branch that is gone on."""
RESULTS = """SELECT r.head_id, r.tool_use_id, r.body, r.is_error, r.generation,
    extract(epoch FROM r.created_at)::float8 AS at
    FROM tool_results r WHERE r.head_id = ANY(:heads)"""
LEDGER = """SELECT l.kind, l.state, l.message_id, l.reply_id, l.cost, l.request_id, l.microseconds,
    l.message_id IS NULL OR t.build_id = l.build_id AS is_own
    FROM ledger l LEFT JOIN transcript t ON t.id = l.message_id WHERE l.build_id = :b"""
BUILD = "SELECT spent, inherited FROM builds WHERE id = :b"
INHERITED = """SELECT coalesce(sum(cost), 0)::bigint FROM ledger
    WHERE message_id = ANY(:shared) AND state IN ('settled', 'lost')"""
UNBEGUN = ("Not run", "This call was not run", "Not begun")
"""How the answer of a call begins that did nothing."""
ELSEWHERE = "Interrupted: the sandbox was lost"
CUT = (ELSEWHERE, "The command was interrupted", "[The founder interrupted this call", "Cut short")
"""How the answer of a call begins whose effect nobody knows."""
CHANGING = ("bash", "write_file", "edit_file")
BRANCHES = ("[rewind]", "[fork]")
LOST = "[sandbox] The sandbox was lost"
UNDONE = "These finished calls were undone:"
LATE = " before the end of this finished call was known. It was undone, too:"
WHY = re.compile(re.escape(LOST) + r" \((.*?)\)\. Your files", re.DOTALL)
"""Why a sandbox was lost, as the model is told; names of sandboxes differ."""
NAME = re.compile(r"\b[a-z0-9]{20}\b")


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
    is_left: bool = False
    """It is on a branch that was left behind."""

    @property
    def is_cut(self) -> bool:
        """Whether it was answered that it was interrupted."""
        return self.answer is not None and self.answer.startswith(CUT)

    @property
    def is_unbegun(self) -> bool:
        """Whether it was answered that it was not begun."""
        return self.is_error and self.answer is not None and self.answer.startswith(UNBEGUN)

    @property
    def label(self) -> str:
        """As the model is told of it when it is undone."""
        said = self.input.get("command") or self.input.get("path") or ""
        return f"{self.tool}: {' '.join(said.split())[:200]}"


@dataclass
class Stretch:
    """What was done on the path to a build's head between two points where it branched off."""

    calls: list[Call] = field(default_factory=list)
    losses: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)
    """Turn after which the model heard of a lost sandbox, and the calls that it was told are undone."""
    is_own: bool = True
    """Of this build, and not of one that it goes on from."""


@dataclass
class Records:
    """One build."""

    calls: list[Call] = field(default_factory=list)
    """Its own, of every branch, in the order of the model's words."""
    stretches: list[Stretch] = field(default_factory=list)
    """The path to its head, from the first message of all."""
    replies: int = 0
    """It bought."""
    ledger: list[Any] = field(default_factory=list)
    build: Any = None
    why_lost: list[str] = field(default_factory=list)
    """What it was told of each lost sandbox, on every branch."""
    inherited: int = 0
    """What others had paid for the conversation that it goes on from, microdollars."""

    @property
    def losses(self) -> list[tuple[int, tuple[str, ...]]]:
        """What it was told of lost sandboxes, on the path."""
        return [loss for stretch in self.stretches if stretch.is_own for loss in stretch.losses]


async def read(connection: AsyncConnection, build_id: str) -> Records:
    """Read a build's rows."""

    async def rows(query: str, **given: Any) -> list[Any]:
        return list(await connection.execute(text(query), given))

    transcript = await rows(TRANSCRIPT, b=build_id)
    found = await rows(RESULTS, heads=[row.id for row in transcript])
    results = {(row.head_id, row.tool_use_id): row for row in found}
    shared = [row.id for row in transcript if not row.is_own]
    ((inherited,),) = await rows(INHERITED, shared=shared)
    return Records(
        calls=_own_calls(transcript, results),
        stretches=_stretches([row for row in transcript if row.is_on_path], results),
        replies=sum(row.is_own and row.role == "assistant" for row in transcript),
        ledger=await rows(LEDGER, b=build_id),
        build=(await rows(BUILD, b=build_id))[0],
        why_lost=_reasons(transcript),
        inherited=inherited,
    )


def _reasons(transcript: list[Any]) -> list[str]:
    """Read why sandboxes were lost; what a branch begins with was told before."""
    said = [_texts(row) for row in transcript if row.is_own and row.role == "user"]
    told = [words for texts in said if not _begins_branch(texts) for words in texts]
    return [NAME.sub("…", reason) for words in told for reason in WHY.findall(words)]


def _texts(row: Any) -> list[str]:
    return [block["text"] for block in json.loads(row.body) if block["type"] == "text"]


def _begins_branch(texts: list[str]) -> bool:
    return any(words.startswith(BRANCHES) for words in texts)


def _own_calls(transcript: list[Any], results: Mapping[tuple[int, str], Any]) -> list[Call]:
    return [
        call
        for turn, row in enumerate(transcript)
        if row.is_own and row.role == "assistant"
        for call in _calls(row, results, turn)
    ]


def _stretches(path: list[Any], results: Mapping[tuple[int, str], Any]) -> list[Stretch]:
    """Cut the path where it branches off; what a branch's first message says of losses was before it."""
    stretches, turn = [Stretch()], 0
    for row in path:
        last = stretches[-1]
        if row.role == "assistant":
            turn += 1
            last.is_own = row.is_own
            last.calls += _calls(row, results, turn)
        elif row.role == "user":
            said = _texts(row)
            last.losses += [(turn, undone) for undone in undone_in(said)]
            if _begins_branch(said):
                stretches.append(Stretch())
    return stretches


def _calls(row: Any, results: Mapping[tuple[int, str], Any], turn: int) -> list[Call]:
    uses = (block for block in json.loads(row.body) if block["type"] == "tool_use")
    return [_call(use, results.get((row.id, use["id"])), turn, is_left=not row.is_on_path) for use in uses]


def _call(use: dict[str, Any], result: Any, turn: int, *, is_left: bool) -> Call:
    if result is None:
        return Call(use["id"], use["name"], use["input"], turn, None, False, 0, 0.0, is_left)
    content = json.loads(result.body)["content"]
    words = content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
    told = (words, result.is_error, result.generation, result.at)
    return Call(use["id"], use["name"], use["input"], turn, *told, is_left)


def undone_in(said: list[str]) -> list[tuple[str, ...]]:
    """Read the undone calls out of what one message says of each lost sandbox.

    A call of whose end nobody knew then was the last in the newest sandbox that had any.
    """
    losses: list[tuple[str, ...]] = []
    for rest in "\n".join(["", *said]).split(f"\n{LOST}")[1:]:
        if rest.startswith(LATE):
            place = max((place for place, undone in enumerate(losses) if undone), default=-1)
            losses[place] += _listed(rest, LATE)
        else:
            losses.append(_listed(rest, UNDONE))
    return losses


def _listed(words: str, begins: str) -> tuple[str, ...]:
    _, _, listed = words.partition(f"{begins}\n")
    lines = takewhile(lambda line: line.startswith("- "), listed.splitlines())
    return tuple(line.removeprefix("- ") for line in lines)
