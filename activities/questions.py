"""What is asked next: the user message that follows a head, in its epoch or at the start of a new one.

Opening an epoch is remembered in the transcript, so that every later attempt asks the same question.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from activities.conversation import Conversation, lifetime_after, next_question, render
from activities.prices import Lifetime
from activities.recap import recap
from activities.rows import Row, images_in, weight
from activities.transcript import Transcript

MOST_LEFT = 40
"""Percent of what is sent that a new epoch may begin with; under half, as bytes only stand for tokens."""
MOST_IMAGES = 15
"""Images in a conversation above which a new epoch is opened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A user message and what comes before it."""

    path: tuple[Row, ...]
    text: str
    """JSON text of its content; empty when the path's last row is itself the question."""
    foreign: frozenset[int] = frozenset()
    """Replies of other models than the one that is asked."""

    @property
    def parent(self) -> Row:
        """The row that it follows."""
        return self.path[-1]

    @property
    def is_fresh(self) -> bool:
        """Whether it begins an epoch that was opened to make it shorter."""
        return len(self.path) == 1 and self.parent.parent_id is not None

    @property
    def weight(self) -> int:
        """What is sent weighs so much; see `rows.weight`."""
        return sum(weight(row.body) for row in self.path) + weight(self.text)

    @property
    def has_many_images(self) -> bool:
        """Whether it is time for the images to leave."""
        return sum(images_in(row.body) for row in self.path) + images_in(self.text) > MOST_IMAGES

    @property
    def lifetime(self) -> Lifetime:
        """How long what is written to the cache should live."""
        return lifetime_after(self.path)

    def conversation(self, lifetime: Lifetime = "5m") -> Conversation:
        """Give what is sent."""
        return render(self.path, self.text, lifetime=lifetime, foreign=self.foreign)


class Questions:
    """Makes questions from the transcript."""

    def __init__(self, transcript: Transcript) -> None:
        self._transcript = transcript

    async def after(self, head: int, notes: Sequence[str]) -> Question:
        """Give the question that follows a head; in a new epoch if one was opened there."""
        question = await self._in_this_epoch(head, notes)
        if (root := await self._transcript.epoch_at(head)) is None:
            return question
        return Question(path=await self._transcript.path(root), text=await self._recap(question, notes))

    async def in_new_epoch(self, head: int, notes: Sequence[str]) -> Question | None:
        """Open a new epoch after a head and give its first question.

        None, and nothing is opened, where even the tightest recap would not halve what is sent.
        """
        question = await self._in_this_epoch(head, notes)
        text = await self._recap(question, notes)
        if weight(question.path[0].body) + weight(text) > question.weight * MOST_LEFT // 100:
            return None
        return Question(path=await self._transcript.path(await self._transcript.open_epoch(head)), text=text)

    async def _in_this_epoch(self, head: int, notes: Sequence[str]) -> Question:
        path = await self._transcript.path(head)
        results = await self._transcript.results_for(head)
        return Question(path=path, text=next_question(path[-1], results, notes))

    async def _recap(self, question: Question, notes: Sequence[str]) -> str:
        rows, results = await self._transcript.whole(question.parent.id)
        within = question.weight * MOST_LEFT // 100 - weight(question.path[0].body)
        return recap(rows, results, notes, within=within)
