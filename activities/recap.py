"""What a new epoch of a conversation starts with: the state of the work, rendered anew from the rows. Pure.

Nothing is paraphrased. Where it must be shorter, stale tool output goes first, then the oldest lines.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from activities.prompt import read_plan
from activities.rows import Row, dump, weight
from activities.story import PLAN_FILE, Story, Told, blocks_of, read_story
from activities.transcript import ToolResult

MOST_PICTURES = 4
"""Pictures that the model has asked for and not seen yet, newest; all others leave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """How much is told."""

    turns: int
    """Newest turns whose words and results are told."""
    newest: int
    """Characters of each result of the last turn, which the model may not have seen."""
    stale: int
    """Characters of each older result; 0: none."""
    lines: int
    """Newest lines of each list."""
    width: int
    """Characters of a line."""


DETAILS = (
    Detail(turns=6, newest=8_000, stale=1_500, lines=60, width=2_000),
    Detail(turns=6, newest=3_000, stale=200, lines=60, width=1_000),
    Detail(turns=3, newest=1_500, stale=0, lines=40, width=400),
    Detail(turns=1, newest=400, stale=0, lines=15, width=160),
)
"""From the fullest to the tightest."""

_HEAD = ("brief", "state")
"""The blocks that each later epoch begins with."""
_OPENING = (
    "# Where we are\n\nThis conversation grew long and goes on here. What follows was taken from it as it "
    "stood. The files in the workspace are as you left them: look at them for anything that is not said here."
)


def recap(
    rows: Sequence[Row], results: Mapping[str, ToolResult], notes: Sequence[str], *, within: int
) -> str:
    """Give the JSON text of the first message of a new epoch, as full as `within` allows, else the tightest.

    `rows` are all rows of all epochs up to the last reply, `results` those that stand in no row: of the last
    reply of each epoch. `within` is a weight, see `rows.weight`.
    """
    first = next(row for row in rows if row.role == "user")
    brief = json.loads(first.body)[0]
    turns = [_without_recap(row) for row in rows if row.role != "system" and row.id != first.id]
    unsent = {each: json.loads(result.body) for each, result in results.items()}
    story = read_story(turns, unsent, notes)
    added = [*_pictures(rows[-1], unsent), *_words(notes)]
    made = ""
    for detail in DETAILS:
        made = dump([brief, {"type": "text", "text": _render(story, brief["text"], detail)}, *added])
        if weight(made) <= within:
            break
    return made


def _render(story: Story, brief: str, detail: Detail) -> str:
    files = [f"{path}: {file.line()}" for path, file in story.files.items()]
    sections = (
        ("The plan, item by item", _plan(story, brief)),
        ("What you told the founder, in order; your decisions are among it", story.narrations),
        ("Sections of the guide that are written", list(story.guide)),
        ("Files you wrote or changed", files),
        ("Your latest commands", story.commands),
        ("What failed and has not succeeded since", _failures(story, detail)),
        ("Screens you looked at", story.pictures),
        ("What you asked and nobody has answered", story.questions),
        ("Notes you were given", story.notes),
    )
    parts = [_OPENING, *_own_plan(story, detail)]
    parts += [_section(title, lines, detail) for title, lines in sections if lines]
    if story.turns:
        last = len(story.turns) - 1
        told = [
            _turn(turn, detail, chars=detail.newest if number == last else detail.stale)
            for number, turn in enumerate(story.turns)
        ][-detail.turns :]
        parts.append("## Your last turns\n\n" + "\n\n---\n\n".join(told))
    return "\n\n".join(parts)


def _section(title: str, lines: Sequence[str], detail: Detail) -> str:
    shown = [f"- {_shorten(line, detail.width)}" for line in lines[-detail.lines :]]
    left = len(lines) - len(shown)
    return "\n".join([f"## {title}\n", *([f"- ({left} older ones left out)"] if left else []), *shown])


def _plan(story: Story, brief: str) -> list[str]:
    """List the plan's phases with how far each is; a phase that the plan does not know too."""
    items = {phase.name: phase.items for phase in read_plan(brief).phases}
    under_way = story.phases[-1] if story.phases else ""
    lines: list[str] = []
    for name in dict.fromkeys([*items, *story.phases]):
        state = "under way" if name == under_way else "done" if name in story.phases else "to do"
        lines.append(": ".join([f"[{state}] {name}", *(["; ".join(items[name])] if items.get(name) else [])]))
    return lines


def _own_plan(story: Story, detail: Detail) -> list[str]:
    if not story.own_plan.strip():
        return []
    return [f"## Your {PLAN_FILE}, as you last wrote it\n\n{_shorten(story.own_plan, detail.newest)}"]


def _failures(story: Story, detail: Detail) -> list[str]:
    return [f"{call}\n{_end(output, detail.width)}" for call, output in story.failures.items()]


def _turn(turn: Sequence[Told], detail: Detail, *, chars: int) -> str:
    parts: list[str] = []
    for told in turn:
        answer = f"\n{_shorten(told.answer, chars)}" if told.answer is not None and chars else ""
        parts.append(_shorten(told.said, detail.newest) + answer)
    return "\n\n".join(parts)


def _pictures(last: Row, unsent: Mapping[str, Any]) -> list[Any]:
    """Give the pictures of the last reply's calls: the model asked for them and has not seen them."""
    answers = [unsent[call["id"]] for call in blocks_of(last, "tool_use") if call["id"] in unsent]
    content: list[Any] = [
        block for answer in answers if not isinstance(answer["content"], str) for block in answer["content"]
    ]
    return [block for block in content if block.get("type") == "image"][-MOST_PICTURES:]


def _words(notes: Sequence[str]) -> list[Any]:
    return [{"type": "text", "text": note} for note in notes if note.strip()]


def _without_recap(row: Row) -> Row:
    """Leave of the first message of a later epoch what was added to it: the rest stands in older rows."""
    blocks: list[Any] = json.loads(row.body)
    is_recap = row.role == "user" and any(
        block.get("text", "").startswith(_OPENING) for block in blocks[: len(_HEAD)]
    )
    return replace(row, body=dump(blocks[len(_HEAD) :])) if is_recap else row


def _shorten(text: str, chars: int) -> str:
    if len(text) <= chars:
        return text
    half = chars // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half} characters …]\n{text[-half:]}"


def _end(text: str, chars: int) -> str:
    return text if len(text) <= chars else f"[…] {text[-chars:]}"
