"""What is asked next: the user message that follows a head, in its epoch or at the start of a new one.

Opening an epoch is remembered in the transcript, so that every later attempt asks the same question.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from activities.conversation import Conversation, lifetime_after, next_question, render
from activities.prices import Lifetime
from activities.recap import recap
from activities.rows import Row
from activities.transcript import Transcript

SHORTEST_EPOCH = 12
"""Rows that an epoch must have before another is opened: otherwise nothing would be gained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A user message and what comes before it."""

    path: tuple[Row, ...]
    text: str
    """JSON text of its content; empty when the path's last row is itself the question."""

    @property
    def parent(self) -> Row:
        """The row that it follows."""
        return self.path[-1]

    @property
    def is_long(self) -> bool:
        """Whether a new epoch could be opened instead."""
        return len(self.path) >= SHORTEST_EPOCH

    @property
    def lifetime(self) -> Lifetime:
        """How long what is written to the cache should live."""
        return lifetime_after(self.path)

    def conversation(self, lifetime: Lifetime = "5m") -> Conversation:
        """Give what is sent."""
        return render(self.path, self.text, lifetime=lifetime)


class Questions:
    """Makes questions from the transcript."""

    def __init__(self, transcript: Transcript) -> None:
        self._transcript = transcript

    async def after(self, head: int, notes: Sequence[str]) -> Question:
        """Give the question that follows a head; in a new epoch if one was opened there."""
        path = await self._transcript.path(head)
        if (root := await self._transcript.epoch_at(head)) is not None:
            return await self._in_epoch(root, head, notes)
        results = await self._transcript.results_for(head)
        return Question(path=path, text=next_question(path[-1], results, notes))

    async def in_new_epoch(self, head: int, notes: Sequence[str]) -> Question:
        """Open a new epoch after a head and give its first question."""
        return await self._in_epoch(await self._transcript.open_epoch(head), head, notes)

    async def _in_epoch(self, root: int, head: int, notes: Sequence[str]) -> Question:
        results = await self._transcript.results_for(head)
        path = await self._transcript.path(head)
        next_question(path[-1], results, notes)  # raises where a result is missing
        rows = list(path)
        while (older := rows[0].parent_id) is not None:
            rows = [*await self._transcript.path(older), *rows]
        return Question(path=await self._transcript.path(root), text=recap(rows, results, notes))
