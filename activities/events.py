"""The live stream of a build in Redis, for watchers only: it may be wiped or away and the build goes on."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import JsonValue
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError
from temporalio import activity

from activities.settings import Settings

MAX_EVENTS = 20_000
"""About how many events of a build are kept."""
KEPT = timedelta(days=7)
"""How long a build's events outlive its last one."""
PATIENCE = timedelta(seconds=1)
"""How long one event may hold up a build."""
RETRY_AFTER = timedelta(seconds=5)
"""How long nothing is tried after a failure."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something a watcher wants to see."""

    id: str
    """Give it to `read` as `after` to go on from here."""
    type: str
    at: datetime
    fields: dict[str, JsonValue]


class EventStream:
    """Publishes and replays the events of builds."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._quiet_until = 0.0
        self._is_away = False

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> "AsyncGenerator[EventStream]":
        """Make the client, which connects when it is first used, and close it at the end."""
        url = settings.redis_url.get_secret_value()
        redis = Redis.from_url(url, socket_connect_timeout=2)  # pyright: ignore[reportUnknownMemberType]  # its kwargs
        try:
            yield cls(redis)
        finally:
            await redis.aclose()

    async def publish(self, build_id: str, type: str, **fields: JsonValue) -> None:  # noqa: A002 the field's name
        """Append an event; while Redis is away events are dropped, said once in the log.

        Its `call` is the attempt that published it: a reply that is told anew comes from another one.
        """
        if asyncio.get_running_loop().time() < self._quiet_until:
            return
        try:
            async with asyncio.timeout(PATIENCE.total_seconds()):
                await self._append(_key(build_id), json.dumps({"type": type, **_call(), **fields}))
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            self._note_away(error)
        else:
            self._is_away = False

    async def read(
        self, build_id: str, after: str = "0", *, count: int = 500, wait: timedelta | None = None
    ) -> list[Event]:
        """Give the events after an id, oldest first, waiting for one if asked to.

        Raises redis' own errors: a watcher without Redis sees nothing and must be told.
        """
        block = int(wait.total_seconds() * 1000) if wait else None
        found: Any = await self._redis.xread({_key(build_id): after}, count=count, block=block)
        return [_event(entry) for entries in _streams(found) for entry in entries]

    async def gone(self, build_id: str) -> int:
        """Count the events of a build that are not kept any more; raises redis' own errors."""
        try:
            found: Any = await self._redis.xinfo_stream(_key(build_id))
        except ResponseError:  # there is no such stream, or not yet
            return 0
        known = {_text(name): value for name, value in found.items()}
        return max(0, int(known.get("entries-added", 0)) - int(known["length"]))

    async def _append(self, key: str, body: str) -> None:
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.xadd(key, {"event": body}, maxlen=MAX_EVENTS, approximate=True)
            pipeline.expire(key, KEPT)
            await pipeline.execute()

    def _note_away(self, error: Exception) -> None:
        self._quiet_until = asyncio.get_running_loop().time() + RETRY_AFTER.total_seconds()
        if not self._is_away:
            log.warning(
                "Redis is away (%s): builds go on, their live events are dropped.", type(error).__name__
            )
        self._is_away = True


def _call() -> dict[str, JsonValue]:
    if not activity.in_activity():
        return {}
    info = activity.info()
    return {"call": f"{info.activity_id}.{info.attempt}"}


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _key(build_id: str) -> str:
    return f"nightshift:build:{build_id}:events"


def _streams(found: Any) -> list[Any]:
    """RESP2 answers with a list of pairs, RESP3 with a table whose values are wrapped once more."""
    if hasattr(found, "values"):
        return [entries for wrapped in found.values() for entries in wrapped]
    return [entries for _, entries in found or ()]


def _event(entry: Any) -> Event:
    event_id = entry[0].decode()
    fields: dict[str, JsonValue] = json.loads(entry[1][b"event"])
    milliseconds = int(event_id.partition("-")[0])
    return Event(
        id=event_id,
        type=str(fields.pop("type")),
        at=datetime.fromtimestamp(milliseconds / 1000, tz=UTC),
        fields=fields,
    )
