"""The vendor's client as a call needs it: counts a conversation, opens a stream. Knows no money, no table."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from anthropic import AsyncAnthropic, NotFoundError
from anthropic.types import RawMessageStreamEvent

from activities.conversation import Conversation
from activities.settings import Settings
from activities.streaming import SILENCE, StalledStream, watched

_EVENT_STREAM = "text/event-stream"


class StrangeAnswer(ConnectionError):
    """What answered is not the provider's API: the page of a proxy or of its maintenance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A stream that has begun."""

    events: AsyncIterator[RawMessageStreamEvent]
    """Raises StalledStream when none comes for too long."""
    request_id: str


class Provider:
    """The Messages API of a model's provider."""

    def __init__(self, client: AsyncAnthropic, *, silence: timedelta = SILENCE) -> None:
        self.client = client
        self._silence = silence.total_seconds()

    async def count(self, model: str, conversation: Conversation) -> int | None:
        """Give the tokens of a conversation, which the provider calls an estimate; none: it cannot count."""
        try:
            async with self._patience():
                counted: Any = await self.client.messages.count_tokens(
                    model=model,
                    system=conversation.system,
                    tools=conversation.tools,
                    messages=conversation.messages,
                )
        except NotFoundError:  # a server that speaks the protocol but cannot count
            return None
        tokens = getattr(counted, "input_tokens", None)
        if not isinstance(tokens, int):
            raise StrangeAnswer("The model's provider was asked for a count and gave none.")
        return tokens

    @asynccontextmanager
    async def stream(
        self, model: str, conversation: Conversation, *, max_tokens: int
    ) -> AsyncGenerator[Opened]:
        """Ask for a reply; raises StalledStream where none begins, StrangeAnswer where it is no stream."""
        async with self._patience():
            stream = await self.client.messages.create(
                model=model,
                max_tokens=max_tokens,
                system=conversation.system,
                tools=conversation.tools,
                messages=conversation.messages,
                stream=True,
            )
        async with stream:
            headers = stream.response.headers
            kind = headers.get("content-type", _EVENT_STREAM)
            if not kind.lower().startswith(_EVENT_STREAM):
                raise StrangeAnswer(f"The model's provider answered with {kind!r} instead of a stream.")
            events = watched(aiter(stream), silence=self._silence)
            yield Opened(events=events, request_id=str(headers.get("request-id", "")))

    @asynccontextmanager
    async def _patience(self) -> AsyncGenerator[None]:
        try:
            async with asyncio.timeout(self._silence):
                yield
        except TimeoutError as error:
            raise StalledStream("The model's provider did not begin to answer.") from error


def open_client(settings: Settings) -> AsyncAnthropic:
    """Make the one client of a process: it never retries, Temporal does."""
    return AsyncAnthropic(
        api_key=settings.anthropic_api_key.get_secret_value(),
        base_url=settings.anthropic_base_url or None,
        max_retries=0,
    )
