"""Watches a stream of events and cuts its text into sentences. Knows neither money nor tables."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import timedelta
from typing import TypeVar

SILENCE = timedelta(seconds=120)
"""How long a stream may give no event; pings, which a stalled stream may go on sending, do not count."""
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
Event = TypeVar("Event")


class StalledStream(TimeoutError):
    """The provider keeps the line open and sends nothing."""


async def watched(events: AsyncIterator[Event], *, silence: float) -> AsyncGenerator[Event]:
    """Pass events on; raises StalledStream when none comes for so many seconds."""
    while True:
        try:
            async with asyncio.timeout(silence):
                event = await anext(events)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise StalledStream("The model's stream stalled; it is asked again.") from error
        yield event


class Sentences:
    """Cuts streamed text at sentence ends."""

    def __init__(self) -> None:
        self._text = ""

    def add(self, text: str) -> list[str]:
        """Take in text; gives the sentences that it ends."""
        self._text += text
        *whole, self._text = _SENTENCE_END.split(self._text)
        return [each for each in map(str.strip, whole) if each]

    def rest(self) -> list[str]:
        """Give what is left when a text ends; the next begins anew."""
        left, self._text = self._text.strip(), ""
        return [left] if left else []
