"""The stand-in's Messages API through the unmodified SDK: what it accepts, refuses, streams and counts."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from anthropic import AsyncAnthropic, AuthenticationError, BadRequestError, NotFoundError
from anthropic.types import Message

from tests.local_model import KEY, MARK, MODEL, LocalModel, running_model

TOOLS = [
    {"name": name, "description": name, "input_schema": {"type": "object", "properties": {}}}
    for name in ("read_file", "write_file", "edit_file", "bash", "grep", "glob", "narrate")
]
HELLO = {"role": "user", "content": "[[script:sleeper]] say hello"}


@pytest.fixture(scope="module")
async def model(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalModel]:
    async with running_model(tmp_path_factory.mktemp("model")) as running:
        yield running


def request(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    given = {"model": MODEL, "max_tokens": 8_000, "tools": TOOLS, "messages": list(messages) or [HELLO]}
    return {**given, **more}


def asked(*ids: str) -> dict[str, Any]:
    uses = [{"type": "tool_use", "id": each, "name": "bash", "input": {"command": "ls"}} for each in ids]
    return {"role": "assistant", "content": uses}


def answered(*ids: str) -> dict[str, Any]:
    results = [{"type": "tool_result", "tool_use_id": each, "content": "fine"} for each in ids]
    return {"role": "user", "content": results}


async def streamed(model: LocalModel, body: dict[str, Any]) -> tuple[Message, list[str]]:
    async with model.client.messages.stream(**body) as stream:
        kinds = [event.type async for event in stream]
        return await stream.get_final_message(), kinds


async def test_healthz_is_open_and_all_else_wants_the_key(model: LocalModel):
    """Only /healthz answers without the key; a wrong key gets the API's typed 401, switches included."""
    async with httpx2.AsyncClient(base_url=model.url) as stranger:
        health = await stranger.get("/healthz")
        switch = await stranger.get("/_control/requests")
    async with AsyncAnthropic(api_key="wrong", base_url=model.url, max_retries=0) as client:
        with pytest.raises(AuthenticationError) as caught:
            await client.messages.create(**request())

    assert (200, 401) == (health.status_code, switch.status_code)
    assert "authentication_error" == caught.value.type
    assert caught.value.request_id


async def test_models_describe_their_limits(model: LocalModel):
    """The Models API gives lifecycle, limits and capabilities; an unknown model is 404 everywhere."""
    listed = [found async for found in model.client.models.list()]
    found = await model.client.models.retrieve(MODEL)

    assert MODEL in [each.id for each in listed]
    assert ("active", 1_000_000, 128_000) == (found.lifecycle, found.max_input_tokens, found.max_tokens)
    assert found.capabilities is not None
    assert found.capabilities.thinking.types.adaptive.supported
    for call in (
        model.client.models.retrieve("claude-none"),
        model.client.messages.create(**request(model="none")),
    ):
        with pytest.raises(NotFoundError):
            await call


async def test_a_stream_adds_up_to_the_message(model: LocalModel):
    """Text, thinking and tool input arrive in many pieces and add up to what is sent without a stream."""
    whole = await model.client.messages.create(**request())
    message, kinds = await streamed(model, request())

    assert whole.to_dict()["content"] == message.to_dict()["content"]
    assert ("tool_use", "tool_use") == (whole.stop_reason, message.stop_reason)
    assert ("message_start", "message_stop") == (kinds[0], kinds[-1])
    assert kinds.count("input_json") > 20
    assert "def page" in next(
        b.input["content"] for b in message.content if b.type == "tool_use" and "content" in b.input
    )
    assert whole.usage.output_tokens == message.usage.output_tokens
    assert whole._request_id


async def test_the_same_request_gets_the_same_reply(model: LocalModel, tmp_path: Path):
    """Replies follow from the conversation: repeated, or after a restart, they are the same, ids included."""
    first, _ = await streamed(model, request())
    again, _ = await streamed(model, request())
    async with running_model(tmp_path) as another:
        elsewhere, _ = await streamed(another, request())
    other, _ = await streamed(model, request({**HELLO, "content": "[[script:sleeper]] say goodbye"}))

    assert first.to_dict()["content"] == again.to_dict()["content"] == elsewhere.to_dict()["content"]
    assert {b.id for b in first.content if b.type == "tool_use"}.isdisjoint(
        b.id for b in other.content if b.type == "tool_use"
    )


async def test_counting_agrees_with_usage(model: LocalModel):
    """count_tokens gives what the request is then charged for in all, cached or not."""
    body = request(system=[{"type": "text", "text": "Count me. " * 900, **MARK}])
    counted = await model.client.messages.count_tokens(**{k: v for k, v in body.items() if k != "max_tokens"})
    for _ in range(2):
        usage = (await model.client.messages.create(**body)).usage
        total = (
            usage.input_tokens
            + (usage.cache_creation_input_tokens or 0)
            + (usage.cache_read_input_tokens or 0)
        )

        assert counted.input_tokens == total


async def test_cache_lifetimes_are_told_apart(model: LocalModel):
    """One-hour and five-minute breakpoints are booked apart; what is too short to cache not at all."""
    hour = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    system = [{"type": "text", "text": "One hour. " * 800, **hour}]
    content = [{"type": "text", "text": "[[script:idle]] " + "Five minutes. " * 400, **MARK}]
    usage = (
        await model.client.messages.create(**request({"role": "user", "content": content}, system=system))
    ).usage
    short = request(system=[{"type": "text", "text": "Too short to be cached.", **MARK}], tools=TOOLS[:1])

    assert usage.cache_creation is not None
    assert usage.cache_creation.ephemeral_1h_input_tokens > 1_900
    assert usage.cache_creation.ephemeral_5m_input_tokens > 1_300
    assert usage.input_tokens == 0
    assert (await model.client.messages.create(**short)).usage.cache_creation_input_tokens == 0


async def test_a_breakpoint_looks_back_twenty_blocks(model: LocalModel):
    """A cached prefix is found up to twenty blocks before a breakpoint, and missed beyond."""
    start = {"type": "text", "text": "[[script:idle]] " + "The beginning. " * 400}
    more = [{"type": "text", "text": f"Block {number}."} for number in range(20)]
    await model.client.messages.create(**request({"role": "user", "content": [{**start, **MARK}]}))
    read = []
    for added in (19, 20):
        content = [start, *more[: added - 1], {**more[added - 1], **MARK}]
        usage = (await model.client.messages.create(**request({"role": "user", "content": content}))).usage
        read.append(usage.cache_read_input_tokens)
        assert usage.cache_creation_input_tokens

    assert read[0] > 1_500
    assert read[1] > read[0], "the block before is cached by now"
    fresh = [start, *({**block, "text": f"{block['text']}!"} for block in more)]
    fresh[-1] = {**fresh[-1], **MARK}
    usage = (await model.client.messages.create(**request({"role": "user", "content": fresh}))).usage
    assert usage.cache_read_input_tokens == 0


async def test_thinking_is_bound_to_its_prefix(model: LocalModel):
    """A thinking block goes back unharmed while everything before it is unchanged, cache marks aside."""
    hello = {"role": "user", "content": "[[script:long turns=2]]"}
    reply = (await streamed(model, request(hello, system="Be brief.")))[0].to_dict()["content"]
    answer = answered(next(block["id"] for block in reply if block["type"] == "tool_use"))
    history = [hello, {"role": "assistant", "content": reply}, answer]
    marked = [{"role": "user", "content": [{"type": "text", "text": hello["content"], **MARK}]}, *history[1:]]
    await model.client.messages.create(**request(*history, system="Be brief."))
    await model.client.messages.create(**request(*marked, system="Be brief."))

    with pytest.raises(BadRequestError, match="bound to a different conversation"):
        await model.client.messages.create(**request(*history, system="Be verbose."))
    thought = {**reply[0], "thinking": "Something else."}
    tampered = [hello, {"role": "assistant", "content": [thought, *reply[1:]]}, answer]
    with pytest.raises(BadRequestError, match="Invalid `signature` in `thinking` block'"):
        await model.client.messages.create(**request(*tampered, system="Be brief."))


@pytest.mark.parametrize("other", ["claude-haiku-5-5", "claude-opus-5"])
async def test_thinking_is_bound_to_its_model(model: LocalModel, other: str):
    """Another model, older or newer, refuses it; without the block it takes the conversation."""
    hello = {"role": "user", "content": "[[script:long turns=2]]"}
    reply = (await streamed(model, request(hello)))[0].to_dict()["content"]
    answer = answered(next(block["id"] for block in reply if block["type"] == "tool_use"))
    with pytest.raises(BadRequestError, match="Invalid `signature` in `thinking` block'"):
        await model.client.messages.create(
            **request(hello, {"role": "assistant", "content": reply}, answer, model=other)
        )
    plain = {"role": "assistant", "content": [block for block in reply if block["type"] != "thinking"]}

    assert (await model.client.messages.create(**request(hello, plain, answer, model=other))).content


async def test_thinking_can_be_hidden_or_off(model: LocalModel):
    """`display: omitted` sends empty signed thinking, `disabled` none, and Opus refuses to turn it off."""
    hello = {"role": "user", "content": "[[script:long turns=2]]"}
    hidden = await model.client.messages.create(
        **request(hello, thinking={"type": "adaptive", "display": "omitted"})
    )
    off = await model.client.messages.create(**request(hello, thinking={"type": "disabled"}))

    assert ("thinking", "") == (hidden.content[0].type, hidden.content[0].thinking)
    assert "thinking" not in [block.type for block in off.content]
    with pytest.raises(BadRequestError):
        await model.client.messages.create(**request(model="claude-opus-5-5", thinking={"type": "disabled"}))


async def test_a_reply_is_cut_at_max_tokens(model: LocalModel):
    """A reply longer than max_tokens stops there, its tool input broken off."""
    message, _ = await streamed(model, request(max_tokens=60))

    assert ("max_tokens", 60) == (message.stop_reason, message.usage.output_tokens)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "assistant first": ({"messages": [asked("a"), answered("a")]}, "first message must use"),
    "no messages": ({"messages": []}, "at least one message"),
    "assistant last": (
        {"messages": [HELLO, {"role": "assistant", "content": "So"}]},
        "must end with a user message",
    ),
    "unanswered": (
        {"messages": [HELLO, asked("a", "b"), answered("a")]},
        "without `tool_result` blocks.*: b",
    ),
    "answered later": (
        {"messages": [HELLO, asked("a"), HELLO, answered("a")]},
        "without `tool_result` blocks",
    ),
    "answered twice": ({"messages": [HELLO, asked("a"), answered("a", "a")]}, "single result"),
    "unknown result": (
        {"messages": [HELLO, asked("a"), answered("a", "z")]},
        "unexpected `tool_use_id`.*: z",
    ),
    "same id again": (
        {"messages": [HELLO, asked("a"), answered("a"), asked("a"), answered("a")]},
        "ids must be unique",
    ),
    "text before results": (
        {
            "messages": [
                HELLO,
                asked("a"),
                {"role": "user", "content": [{"type": "text", "text": "x"}, *answered("a")["content"]]},
            ]
        },
        "start of the next message",
    ),
    "empty text": (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]},
        "must be non-empty",
    ),
    "empty content": ({"messages": [{"role": "user", "content": []}]}, "non-empty content"),
    "odd block": ({"messages": [{"role": "user", "content": [{"type": "song"}]}]}, "does not match any"),
    "five breakpoints": (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", **MARK}] * 5}]},
        "maximum of 4 blocks",
    ),
    "hour after minutes": (
        {
            "system": [{"type": "text", "text": "x", **MARK}],
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
                    ],
                }
            ],
        },
        "must not come after",
    ),
    "temperature": ({"extra_body": {"temperature": 0.5}}, "temperature"),
    "unknown field": ({"extra_body": {"colour": "blue"}}, "colour: Extra inputs"),
    "too many tokens": ({"max_tokens": 200_000}, "200000 > 128000"),
    "no tokens": ({"max_tokens": 0}, "greater than or equal to 1"),
    "schema": ({"tools": [{"name": "a", "input_schema": {"type": "string"}}]}, "should be 'object'"),
    "tool name": ({"tools": [{"name": "a b", "input_schema": {"type": "object"}}]}, "match pattern"),
    "tools alike": ({"tools": [TOOLS[0], TOOLS[0]]}, "must be unique"),
}


@pytest.mark.parametrize("rule", WRONG)
async def test_what_the_api_refuses_is_refused(model: LocalModel, rule: str):
    """Each mistake an agent can make gets a 400 that names it."""
    body, said = WRONG[rule]
    with pytest.raises(BadRequestError, match=said) as caught:
        await model.client.messages.create(**request(**body), timeout=10)

    assert "invalid_request_error" == caught.value.type


async def test_max_tokens_and_json_are_required(model: LocalModel):
    """A body without max_tokens, or that is no JSON, is a 400 in the API's shape, with a request id."""
    headers = {"anthropic-version": "2026-10-21"}
    missing = {name: value for name, value in request().items() if name != "max_tokens"}
    replies = [
        await model.http.post("/v1/messages", headers=headers, content=content)
        for content in (json.dumps(missing), "{", "[]")
    ]

    assert [400] * 3 == [reply.status_code for reply in replies]
    assert "max_tokens: Field required" == replies[0].json()["error"]["message"]
    assert all(reply.json()["request_id"] == reply.headers["request-id"] for reply in replies)
    assert KEY not in "".join(reply.text for reply in replies)
