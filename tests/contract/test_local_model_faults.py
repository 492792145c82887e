"""The stand-in's switches: faults, holding a stream midway, a narrow context, the journal of requests."""

import asyncio
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest

from tests.local_model import MODEL, Agent, LocalModel, ToolBox, running_model

HELLO = {
    "model": MODEL,
    "max_tokens": 8_000,
    "messages": [{"role": "user", "content": "[[script:sleeper]]"}],
    "tools": [{"name": "write_file", "description": "Write.", "input_schema": {"type": "object"}}],
}


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalModel]:
    async with running_model(tmp_path_factory.mktemp("model")) as running:
        yield running


@pytest.fixture
async def model(server: LocalModel) -> LocalModel:
    await server.reset()
    return server


async def events(model: LocalModel) -> list[Any]:
    async with model.client.messages.stream(**HELLO) as stream:
        return [event async for event in stream]


async def test_statuses_arrive_as_the_vendors_errors(model: LocalModel):
    """Each refusing fault raises the SDK's own class for it, once, and then the request passes."""
    wanted = {
        "rate_limit": anthropic.RateLimitError,
        "overloaded": anthropic.OverloadedError,
        "server_error": anthropic.InternalServerError,
        "spend_limit": anthropic.BadRequestError,
        "too_large": anthropic.ContentTooLargeError,
        "over_limit": anthropic.BadRequestError,
    }
    await model.control("faults", [{"kind": kind, "seconds": 7} for kind in wanted])
    for kind, error in wanted.items():
        with pytest.raises(error) as caught:
            await events(model)
        assert error is type(caught.value)
        assert ("7" if kind == "rate_limit" else None) == caught.value.response.headers.get("retry-after")

    assert await events(model)


async def test_a_fault_can_wait_and_come_back(model: LocalModel):
    """`after` lets requests pass first and `times` repeats the fault; what is left can be read."""
    await model.control("faults", [{"kind": "overloaded", "after": 1, "times": 2}])
    seen = []
    for _ in range(4):
        try:
            await events(model)
            seen.append("reply")
        except anthropic.OverloadedError:
            seen.append("overloaded")

    assert ["reply", "overloaded", "overloaded", "reply"] == seen
    assert [] == await model.control("faults")


async def test_a_cut_stream_has_no_end(model: LocalModel):
    """`cut` ends the stream cleanly without message_stop, so no stop reason was seen."""
    await model.control("faults", [{"kind": "cut", "after_events": 9}])
    async with model.client.messages.stream(**HELLO) as stream:
        kinds = [event.type async for event in stream]

    assert "message_stop" not in kinds
    assert stream.current_message_snapshot.stop_reason is None


async def test_a_broken_connection_breaks(model: LocalModel):
    """`disconnect` drops the connection in the middle of the stream."""
    await model.control("faults", [{"kind": "disconnect"}])
    with pytest.raises((httpx2.RemoteProtocolError, httpx2.ReadError)):
        await events(model)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("sse_error", "overloaded_error"),
        ("sse_billing", "billing_error"),
        ("sse_revoked_key", "authentication_error"),
        ("sse_no_permission", "permission_error"),
        ("sse_untyped", None),
        ("sse_garbage", None),
    ],
)
async def test_an_error_event_comes_with_status_200(model: LocalModel, kind: str, expected: str | None):
    """`sse_…` is an error event inside a stream that began well; one may have no type, or be no JSON."""
    await model.control("faults", [{"kind": kind}])
    with pytest.raises(anthropic.APIStatusError) as caught:
        await events(model)

    assert (200, expected) == (caught.value.status_code, caught.value.type)


async def test_a_spoilt_stream(model: LocalModel):
    """`stray_delta` ends with a delta of a block that never began; with `unclosed` no block ends."""
    found: dict[str, list[str]] = {}
    for kind in ("stray_delta", "unclosed"):
        await model.control("faults", [{"kind": kind}])
        async with await model.client.messages.create(**HELLO, stream=True) as stream:
            sent = [event async for event in stream]
        found[kind] = [event.type for event in sent]
        if kind == "stray_delta":
            assert 99 == sent[-1].index

    assert "content_block_stop" not in found["unclosed"]
    assert "message_stop" == found["unclosed"][-1]


async def test_a_page_of_maintenance(model: LocalModel):
    """`page` answers with status 200 and HTML."""
    await model.control("faults", [{"kind": "page"}])
    async with await model.client.messages.create(**HELLO, stream=True) as stream:
        sent = [event async for event in stream]
        kind = stream.response.headers["content-type"]

    assert (True, []) == (kind.startswith("text/html"), sent)


@pytest.mark.parametrize(("kind", "seconds", "least"), [("slow_start", 0.3, 0.3), ("slow_stream", 0.01, 0.3)])
async def test_slowness_takes_time(model: LocalModel, kind: str, seconds: float, least: float):
    """A slow start waits before the headers, a slow stream before each of its many events."""
    await model.control("faults", [{"kind": kind, "seconds": seconds}])
    began = time.monotonic()
    await events(model)

    assert time.monotonic() - began >= least


async def test_malformed_tool_input_does_not_parse(model: LocalModel):
    """`malformed` breaks off the JSON of the last tool input though the message ends as usual."""
    await model.control("faults", [{"kind": "malformed"}])
    found = await events(model)
    last = max(event.index for event in found if event.type == "content_block_start")
    deltas = [event.delta for event in found if event.type == "content_block_delta" and event.index == last]

    assert "message_stop" == found[-1].type
    assert "}" != "".join(delta.partial_json for delta in deltas)[-1]


async def test_a_refusal_is_a_reply(model: LocalModel):
    """`refusal` is a whole message with that stop reason, why, and nothing in it, streamed or not."""
    await model.control("faults", [{"kind": "refusal", "times": 2}])
    message = await model.client.messages.create(**HELLO)
    end = next(event for event in await events(model) if event.type == "message_delta")

    assert ("refusal", []) == (message.stop_reason, message.content)
    assert "general_harms" == message.stop_details.category == end.delta.stop_details.category


async def test_an_unknown_fault_is_refused(model: LocalModel):
    """A misspelt kind is a 400, not a fault that never comes."""
    reply = await model.http.post("/_control/faults", json=[{"kind": "earthquake"}])

    assert 400 == reply.status_code


async def test_a_stream_can_be_held_and_released(model: LocalModel):
    """A held stream stops after so many events until released; the next one is not held."""
    await model.control("hold", {"after_events": 5})
    held = asyncio.create_task(events(model))
    await until_waiting(model, 1)
    assert await asyncio.wait_for(events(model), 10)
    assert not held.done()
    await model.control("release", {})

    assert "message_stop" == (await held)[-1].type


async def test_a_stream_can_be_held_before_its_end(model: LocalModel):
    """Below zero, `after_events` counts from the end."""
    await model.control("hold", {"after_events": -1})
    kinds: list[str] = []

    async def listen() -> None:
        async with await model.client.messages.create(**HELLO, stream=True) as stream:
            kinds.extend([event.type async for event in stream if event.type != "message_stop"])

    held = asyncio.create_task(listen())
    await until_waiting(model, 1)
    await model.control("release", {})
    await held

    assert "message_delta" == kinds[-1]


async def test_a_held_stream_notices_that_its_client_died(model: LocalModel):
    """A client that goes away while held leaves nothing behind."""
    await model.control("hold", {"after_events": 5})
    held = asyncio.create_task(events(model))
    await until_waiting(model, 1)
    held.cancel()

    await until_waiting(model, 0)


async def test_a_held_stream_can_ping(model: LocalModel):
    """With `ping_seconds` a held stream keeps the line busy with pings, as a stalled one does."""
    await model.control("hold", {"after_events": 2, "ping_seconds": 0.02})
    body = {**HELLO, "stream": True}
    async with model.http.stream(
        "POST", "/v1/messages", json=body, headers={"anthropic-version": "2026-10-21"}
    ) as reply:
        pings = 0
        async for line in reply.aiter_lines():
            pings += line == "event: ping"
            if pings == 5:
                await model.control("release", {})

    assert pings >= 5


async def test_a_narrow_context_refuses_long_prompts(model: LocalModel):
    """A narrowed window is what the Models API tells and what a long prompt is refused for."""
    await model.control("limits", {"max_input_tokens": 500})
    found = await model.client.models.retrieve(MODEL)
    long = {**HELLO, "messages": [{"role": "user", "content": "word " * 1_000}]}
    with pytest.raises(anthropic.BadRequestError, match=r"prompt is too long: \d+ tokens > 500 maximum"):
        await model.client.messages.create(**long)

    assert 500 == found.max_input_tokens


async def test_the_journal_shows_that_a_conversation_only_grows(model: LocalModel, tmp_path: Path):
    """Each request's items begin with those of the one before, cache marks aside; usage is kept with them."""
    agent = await Agent(model, ToolBox.in_directory(tmp_path)).build("[[script:sleeper]]")
    journal = await model.control(f"requests?last={len(agent.replies)}")
    items = [
        [*each["digests"]["tools"], *each["digests"]["system"], *each["digests"]["messages"]]
        for each in journal["requests"]
    ]

    assert len(agent.replies) == len(items)
    for before, after in pairwise(items):
        assert before == after[: len(before)]
    wanted = [reply.usage.output_tokens for reply in agent.replies]
    assert wanted == [each["usage"]["output_tokens"] for each in journal["requests"]]
    assert sorted(each["index"] for each in journal["requests"]) == [
        each["index"] for each in journal["requests"]
    ]


async def test_the_journal_outlives_the_server(tmp_path: Path):
    """Killed and started again on the same directory, the server goes on counting."""
    for expected in (1, 2):
        async with running_model(tmp_path) as running:
            await running.client.messages.create(**HELLO)
            journal = await running.control("requests")

        assert expected == journal["count"] == len(journal["requests"])


async def until_waiting(model: LocalModel, number: int) -> None:
    async with asyncio.timeout(10):
        while (await model.control("hold"))["waiting"] != number:
            pass
