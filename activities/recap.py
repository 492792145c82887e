"""What a new epoch of a conversation starts with: the state of the work, rendered anew from the rows. Pure.

Nothing is paraphrased: what was said, done and decided is picked out of the old epochs as it stands there.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from activities.rows import Row, dump
from activities.transcript import ToolResult
from workflows.catalogue import label

ALLOWANCE_NOTE = "[allowance]"
"""Begins a note that only held for its day."""
STORIES = 60
"""Narrations kept, newest."""
COMMANDS = 25
"""Commands kept, newest."""
NOTES = 30
"""Notes kept, newest."""
RECENT_TURNS = 6
"""Turns whose words and results are kept."""
RESULT_CHARS = 1_500
"""What is kept of each of their results, from its head and its tail."""

_OPENING = (
    "# Where we are\n\nThis conversation grew long and goes on here. What follows was taken from it as it "
    "stood. The files in the workspace are as you left them: look at them for anything that is not said here."
)


@dataclass
class _Story:
    """What is picked out of the rows."""

    stories: list[str] = field(default_factory=list[str])
    guide: dict[str, None] = field(default_factory=dict[str, None])
    files: dict[str, None] = field(default_factory=dict[str, None])
    commands: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])
    turns: list[str] = field(default_factory=list[str])


def recap(rows: Sequence[Row], results: Mapping[str, ToolResult], notes: Sequence[str]) -> str:
    """Give the JSON text of the first message of a new epoch.

    `rows` are all rows of all epochs up to the last reply, `results` those of its tool calls.
    """
    first = next(row for row in rows if row.role == "user")
    turns = [row for row in rows if row.role != "system" and row.id != first.id and not _is_recap(row)]
    story = _read(turns, {each: json.loads(result.body) for each, result in results.items()})
    content: list[Any] = [json.loads(first.body)[0], {"type": "text", "text": _render(story)}]
    return dump(content + [{"type": "text", "text": note} for note in notes if note.strip()])


def _read(rows: Sequence[Row], newest: Mapping[str, Any]) -> _Story:
    story = _Story()
    answers = dict(newest) | {
        block["tool_use_id"]: block for row in rows for block in _blocks(row, "tool_result")
    }
    for row in rows:
        if row.role == "user":
            said = [block["text"] for block in _blocks(row, "text")]
            story.notes += [text for text in said if not text.startswith(ALLOWANCE_NOTE)]
            continue
        lines = [block["text"] for block in _blocks(row, "text")]
        for call in _blocks(row, "tool_use"):
            answer = answers.get(call["id"], {})
            _note_call(story, call, failed=bool(answer.get("is_error")))
            lines.append(f"{call['name']}: {label(call['name'], call['input'])}\n{_shorten(_text(answer))}")
        story.turns.append("\n\n".join(lines))
    return story


def _note_call(story: _Story, call: Mapping[str, Any], *, failed: bool) -> None:
    given: Mapping[str, Any] = call["input"]
    match call["name"]:
        case "narrate":
            phase = f"[{given['phase_name']}] " if given.get("phase_name") else ""
            story.stories.append(f"{phase}{given.get('message', '')}")
        case "document" if not failed:
            story.guide[str(given.get("section", ""))] = None
        case "write_file" | "edit_file" if not failed:
            story.files[str(given.get("path", ""))] = None
        case "bash":
            story.commands.append(f"{'failed' if failed else 'ok'}: {label('bash', call['input'])}")
        case _:
            pass


def _render(story: _Story) -> str:
    sections = (
        ("What you told the founder, in order", story.stories[-STORIES:]),
        ("Sections of the guide that are written", list(story.guide)),
        ("Files you wrote or changed", list(story.files)),
        ("Your latest commands", story.commands[-COMMANDS:]),
        ("Notes you were given", story.notes[-NOTES:]),
    )
    parts = [_OPENING]
    parts += [
        f"## {title}\n\n" + "\n".join(f"- {line}" for line in lines) for title, lines in sections if lines
    ]
    if story.turns:
        parts.append("## Your last turns\n\n" + "\n\n---\n\n".join(story.turns[-RECENT_TURNS:]))
    return "\n\n".join(parts)


def _is_recap(row: Row) -> bool:
    """Tell the first message of a later epoch: what it holds is read from the rows themselves."""
    return row.role == "user" and any(block["text"].startswith(_OPENING) for block in _blocks(row, "text"))


def _blocks(row: Row, kind: str) -> Iterator[Any]:
    return (block for block in json.loads(row.body) if block.get("type") == kind)


def _text(answer: Mapping[str, Any]) -> str:
    content: Any = answer.get("content", "")
    if isinstance(content, str):
        return content
    return "\n".join(str(block.get("text", f"({block.get('type')})")) for block in content)


def _shorten(text: str) -> str:
    if len(text) <= RESULT_CHARS:
        return text
    half = RESULT_CHARS // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half} characters …]\n{text[-half:]}"
