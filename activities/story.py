"""What happened in a build, picked out of the rows of its conversation as it stands there. Pure.

Nothing is paraphrased, and nothing is cut here: how much of it is told is `recap`'s matter.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from activities.rows import Row
from workflows.catalogue import label
from workflows.state import FOUNDER

ALLOWANCE_NOTE = "[allowance]"
"""Begins a note that only held for its day."""
PLAN_FILE = "PLAN.md"
"""Where a model that was given no plan keeps its own, as the first message asks."""
FIRST_CHARS = 80
"""What is shown of the first line of a file or of a change."""
# One pass over the text: a pattern that asks for the question mark looks through a long word once a letter.
_SENTENCE = re.compile(r"[^.!?\n]+\??")


@dataclass
class TouchedFile:
    """A file that the model wrote or changed."""

    written: str = ""
    changes: int = 0
    last: str = ""
    """First line of what the last change put in."""

    def line(self) -> str:
        """Give what is known of it in one line."""
        known = [self.written] if self.written else []
        if self.changes:
            known.append(f"changed {self.changes} times, last to `{self.last}`")
        return "; ".join(known)


@dataclass(frozen=True, slots=True)
class Told:
    """Words of the model, or a call and its answer."""

    said: str
    answer: str | None = None
    """None: no call."""


@dataclass
class Story:
    """What is picked out of the rows, oldest first."""

    phases: list[str] = field(default_factory=list[str])
    """Names of the phases that began; each ended the one before."""
    narrations: list[str] = field(default_factory=list[str])
    guide: dict[str, None] = field(default_factory=dict[str, None])
    files: dict[str, TouchedFile] = field(default_factory=dict[str, TouchedFile])
    """By path; the last touched is last."""
    own_plan: str = ""
    """What PLAN.md says, as the model's own calls left it."""
    commands: list[str] = field(default_factory=list[str])
    pictures: list[str] = field(default_factory=list[str])
    """What was said beside pictures that were taken."""
    failures: dict[str, str] = field(default_factory=dict[str, str])
    """Call → its output, of calls that failed and have not succeeded since."""
    questions: list[str] = field(default_factory=list[str])
    """What the model asked and the founder has not answered."""
    notes: list[str] = field(default_factory=list[str])
    turns: list[list[Told]] = field(default_factory=list[list[Told]])


def read_story(rows: Sequence[Row], unsent: Mapping[str, Any], notes: Sequence[str]) -> Story:
    """Read the rows of all epochs without their first messages.

    `unsent` are answers, by tool_use id, that no row holds, as are `notes`, what will be said next.
    """
    story = Story()
    answers = dict(unsent) | {
        block["tool_use_id"]: block for row in rows for block in blocks_of(row, "tool_result")
    }
    for row in rows:
        if row.role == "assistant":
            story.turns.append([_told(story, block, answers) for block in _spoken(row)])
        else:
            _hear(story, [block["text"] for block in blocks_of(row, "text")])
    if any(note.startswith(FOUNDER) for note in notes):
        story.questions.clear()
    return story


def blocks_of(row: Row, kind: str) -> Iterator[Any]:
    """Give a row's blocks of one kind."""
    return (block for block in json.loads(row.body) if block.get("type") == kind)


def _spoken(row: Row) -> list[Any]:
    return [block for block in json.loads(row.body) if block.get("type") in ("text", "tool_use")]


def _hear(story: Story, said: Sequence[str]) -> None:
    if any(text.startswith(FOUNDER) for text in said):
        story.questions.clear()
    story.notes += [text for text in said if not text.startswith(ALLOWANCE_NOTE)]


def _told(story: Story, block: Mapping[str, Any], answers: Mapping[str, Any]) -> Told:
    if block["type"] == "text":
        _ask(story, block["text"])
        return Told(block["text"])
    answer = answers.get(block["id"], {})
    output, name, given = _text(answer), block["name"], block["input"]
    called = f"{name}: {label(name, given)}"
    story.failures.pop(called, None)
    if failed := bool(answer.get("is_error")):
        story.failures[called] = output
    _note_call(story, block, output, failed=failed)
    return Told(called, output)


def _note_call(story: Story, call: Mapping[str, Any], output: str, *, failed: bool) -> None:
    given: Mapping[str, Any] = call["input"]
    match call["name"]:
        case "narrate" if not failed:
            _narrate(story, given)
        case "document" if not failed:
            story.guide[str(given.get("section", ""))] = None
        case "write_file" | "edit_file" if not failed:
            _touch(story, given)
        case "bash":
            story.commands.append(f"{'failed' if failed else 'ok'}: {label('bash', call['input'])}")
        case "take_screenshot" if not failed:
            story.pictures.append(f"{given.get('path', '/')}: {' '.join(output.split())}")
        case _:
            pass


def _narrate(story: Story, given: Mapping[str, Any]) -> None:
    message, phase = str(given.get("message", "")), str(given.get("phase_name") or "")
    if phase and phase not in story.phases:
        story.phases.append(phase)
    story.narrations.append(f"[{phase}] {message}" if phase else message)
    _ask(story, message)


def _ask(story: Story, text: str) -> None:
    for found in _SENTENCE.finditer(text):
        after = text[found.end() : found.end() + 1]
        if found[0].endswith("?") and (not after or after.isspace()):
            story.questions.append(found[0].strip())


def _touch(story: Story, given: Mapping[str, Any]) -> None:
    path = str(given.get("path", ""))
    if path.removeprefix("./") == PLAN_FILE:
        story.own_plan = _edited(story.own_plan, given)
    known = story.files.pop(path, TouchedFile())
    if "content" in given:
        content = str(given["content"])
        known = TouchedFile(f"{len(content.splitlines())} lines, begins `{_first(content)}`")
    else:
        known.changes += 1
        known.last = _first(str(given.get("new_string", "")))
    story.files[path] = known


def _edited(text: str, given: Mapping[str, Any]) -> str:
    """Give a text as a successful call left it; as it was where something else had changed it before."""
    if "content" in given:
        return str(given["content"])
    old, new = str(given.get("old_string", "")), str(given.get("new_string", ""))
    return text.replace(old, new, -1 if given.get("replace_all") else 1) if old else text


def _first(text: str) -> str:
    return next((line.strip()[:FIRST_CHARS] for line in text.splitlines() if line.strip()), "")


def _text(answer: Mapping[str, Any]) -> str:
    content: Any = answer.get("content", "")
    if isinstance(content, str):
        return content
    return "\n".join(str(block.get("text", f"({block.get('type')})")) for block in content)
