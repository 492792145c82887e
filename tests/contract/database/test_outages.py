"""A provider that is away, or answers nonsense, is asked again and costs next to nothing."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from activities.model import Model
from workflows.errors import FailureType
from workflows.models import PreparedBuild

ATTEMPTS = 4
MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
    "usage": {"input_tokens": 100, "output_tokens": 1},
}


def answered(status: str, kind: str, body: bytes = b"") -> bytes:
    """A whole answer, ended by its connection's end."""
    return f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n".encode() + body


def event(name: str, payload: object) -> bytes:
    said = payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False)
    return f"event: {name}\ndata: {said}\n\n".encode()


COUNTED = answered("200 OK", "application/json", b'{"input_tokens": 100}')
PAGE = answered("200 OK", "text/html", b"<html>We are down for maintenance.</html>")
STREAM = answered("200 OK", "text/event-stream; charset=utf-8")
START = event("message_start", {"type": "message_start", "message": MESSAGE})
TEXT = event(
    "content_block_start",
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
)
ENDED = {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}}
STOP = event("message_stop", {"type": "message_stop"})
DELTA = event(
    "content_block_delta",
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "é"}},
)


@asynccontextmanager
async def provider(answer: bytes | None, *, counts: bytes | None = COUNTED) -> AsyncIterator[str]:
    """The address of a provider that answers every call like this, and every count; none: it keeps still."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        said = counts if b"count_tokens" in asked else answer
        try:
            await (reader.read() if said is None else send(said, writer))
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        yield f"http://{host}:{port}"


async def send(said: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(said)
    await writer.drain()


def impatient(desk: Any) -> Any:
    """The same desk, that waits for half a second only."""
    desk.model = Model(
        desk.model._provider.client,
        transcript=desk.transcript,
        purchases=desk.purchases,
        ledger=desk.ledger,
        events=desk.events,
        silence=timedelta(seconds=0.5),
    )
    return desk


async def attempts(desk: Any, build: PreparedBuild) -> list[ApplicationError]:
    """Ask as often as Temporal would in some minutes; gives the failures, which were all told."""
    failures: list[ApplicationError] = []
    for _ in range(ATTEMPTS):
        with pytest.raises(ApplicationError) as caught:
            await desk.call(build)
        failures.append(caught.value)
    told = [one.type for one in await desk.events.read(build.build_id)]
    assert told == ["agent.retrying"] * ATTEMPTS
    return failures


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="closed before the headers"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-", id="closed within the headers"),
        pytest.param(PAGE, id="page"),
        pytest.param(answered("200 OK", "application/json", b'{"id": "m"}'), id="JSON"),
        pytest.param(answered("502 Bad Gateway", "text/html", b"<html>bad</html>"), id="502"),
        pytest.param(b"HTTP/1.1 302 Found\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n", id="redirect"),
        pytest.param(STREAM + event("error", "upstream connect error"), id="error and nothing else"),
    ],
)
async def test_outage_costs_nothing(make_desk, answer):
    """Whatever answers without beginning a reply, for however long, is asked again and has sold nothing."""
    async with provider(answer) as address:
        desk = make_desk(base_url=address)
        build = await desk.prepare()
        failures = await attempts(desk, build)
    entries = await desk.entries(build.build_id)

    assert [(one.type, one.non_retryable) for one in failures] == [(FailureType.RETRYABLE, False)] * ATTEMPTS
    assert [(one["state"], one["cost"]) for one in entries] == [("released", 0)] * ATTEMPTS


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(None, id="nothing"),
        pytest.param(STREAM, id="headers"),
        pytest.param(STREAM + event("message_start", {"type": "message_start"}) + STOP, id="no message"),
        pytest.param(STREAM + event("message_start", "{bad"), id="no JSON"),
    ],
)
async def test_silent_provider_costs_one_reply(make_desk, answer):
    """A request that was taken and not answered may be billed: one worst price stands for all attempts at it.

    So hours of it cost one reply, which stays counted when the provider is back.
    """
    async with provider(answer) as address:
        desk = impatient(make_desk(base_url=address))
        build = await desk.prepare()
        failures = await attempts(desk, build)
    reply = await make_desk().call(build)
    entries = await desk.entries(build.build_id)

    assert {one.type for one in failures} == {FailureType.RETRYABLE}
    assert [one["state"] for one in entries] == ["lost", *["released"] * (ATTEMPTS - 1), "settled"]
    assert entries[0]["cost"] == entries[0]["reserved"] == reply.balance.lost


@pytest.mark.parametrize("counts", [PAGE, b"", answered("200 OK", "application/json", b"{bad")])
async def test_provider_that_cannot_be_asked_for_a_count(make_desk, counts):
    """A page in the place of a count is an outage like any other, before any money is set aside."""
    async with provider(PAGE, counts=counts) as address:
        desk = make_desk(base_url=address)
        build = await desk.prepare()
        with pytest.raises(ApplicationError) as caught:
            await desk.call(build)

    assert caught.value.type == FailureType.RETRYABLE
    assert await desk.entries(build.build_id) == []


async def test_count_that_never_comes(make_desk):
    """A provider that keeps still when it is asked for a count is given up, and asked again."""
    async with provider(None, counts=None) as address:
        desk = impatient(make_desk(base_url=address))
        build = await desk.prepare()
        with pytest.raises(ApplicationError, match="StalledStream") as caught:
            await desk.call(build)

    assert caught.value.type == FailureType.RETRYABLE


@pytest.mark.parametrize(
    "rest",
    [
        pytest.param(DELTA + event("message_delta", ENDED | {"usage": {"output_tokens": 7}}), id="no block"),
        pytest.param(event("message_delta", ENDED) + STOP, id="no usage"),
        pytest.param(
            event("message_delta", {"type": "message_delta", "usage": {"output_tokens": 7}}) + STOP,
            id="no delta",
        ),
        pytest.param(event("content_block_start", "{bad"), id="no JSON"),
        pytest.param(TEXT + DELTA[: DELTA.index("é".encode()) + 1], id="half a character"),
        pytest.param(event("error", "upstream connect error"), id="error without JSON"),
        pytest.param(event("error", {"type": "error"}), id="error without a type"),
        pytest.param(
            TEXT + DELTA + event("message_delta", ENDED | {"usage": {"output_tokens": 7}}) + STOP,
            id="block without its end",
        ),
    ],
)
async def test_stream_that_makes_no_sense_is_asked_again(make_desk, rest):
    """What the provider or a proxy spoils within a stream is no bug of ours, and never a reply."""
    async with provider(STREAM + START + rest) as address:
        desk = make_desk(base_url=address)
        build = await desk.prepare()
        with pytest.raises(ApplicationError) as caught:
            await desk.call(build)
    [entry] = await desk.entries(build.build_id)

    assert (caught.value.type, caught.value.non_retryable) == (FailureType.RETRYABLE, False)
    assert (entry["state"], entry["input_tokens"]) == ("lost", 100)
