"""The script language: an ordered list of steps, each with what to say and when it is due.

A script is a pure function of the conversation: it keeps nothing, so a restart or a repeated request
changes nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from starter.local.model.conversation import TOOL_ID, Conversation
from starter.local.model.values import Json


@dataclass(frozen=True)
class Text:
    """Words to the reader."""

    text: str


@dataclass(frozen=True)
class Thought:
    """Thinking, shown only where thinking is on."""

    text: str


@dataclass(frozen=True)
class Use:
    """A tool to call."""

    name: str
    input: Json


Said: TypeAlias = Text | Thought | Use
Words: TypeAlias = Callable[[Conversation], Sequence[Said]]
Condition: TypeAlias = Callable[[Conversation], bool]


@dataclass(frozen=True)
class Reply:
    """What the model says next."""

    step: str
    said: Sequence[Said]


@dataclass(frozen=True)
class Step:
    """Something to say once its time has come."""

    name: str
    """Letters, digits and dashes: it becomes part of the tool ids, which is how it is found again."""
    say: Words
    when: Condition | None = None
    """Beyond its place in the order; none needed by default."""
    done: Condition | None = None
    """By default: its calls were answered, none interrupted."""
    attempts: int = 3
    """After so many turns the script goes on without it."""

    def due(self, conversation: Conversation) -> bool:
        """Whether to say it now."""
        if conversation.attempts(self.name) >= self.attempts or (self.when and not self.when(conversation)):
            return False
        return not (self.done(conversation) if self.done else conversation.answered(self.name))


@dataclass(frozen=True)
class Script:
    """A build that can be played."""

    name: str
    play: Callable[[Conversation], Reply]


def use(name: str, **tool_input: Any) -> Use:
    """Return a tool call."""
    return Use(name, tool_input)


def say(*said: Said) -> Words:
    """Return a step's words that do not depend on the conversation."""
    return lambda _: said


def play_steps(steps: Sequence[Step], conversation: Conversation, *, closing: str) -> Reply:
    """Return the first step that is due; when none is, the closing words that end the turn."""
    for step in steps:
        if step.due(conversation):
            said = [part for part in step.say(conversation) if _offered(part, conversation)]
            if any(isinstance(part, Use) for part in said):
                return Reply(step.name, said)
    return Reply("end", [Text(closing)])


def content_of(reply: Reply, *, seed: str, thinking: bool) -> Iterator[Json]:
    """Yield the reply's content blocks, unsigned; ids follow from the seed, the step and the position."""
    for position, part in enumerate(reply.said):
        if isinstance(part, Use):
            tool_use_id = f"{TOOL_ID}_{reply.step}_{position}{seed[:12]}"
            yield {"type": "tool_use", "id": tool_use_id, "name": part.name, "input": part.input}
        elif isinstance(part, Text):
            yield {"type": "text", "text": part.text}
        elif thinking:
            yield {"type": "thinking", "thinking": part.text, "signature": ""}


def _offered(part: Said, conversation: Conversation) -> bool:
    return not isinstance(part, Use) or part.name in conversation.tools
