"""How a reply travels: one JSON message, or the events of a stream; decides nothing about its content."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from starter.local.model.values import Json, json_text

TEXT_PIECE = 48
"""Characters a text or thinking delta."""
JSON_PIECE = 40
"""Characters a tool-input delta."""

Event: TypeAlias = tuple[str, Json]


@dataclass(frozen=True)
class Block:
    """One content block and the text its deltas carry."""

    start: Json
    """The block as content_block_start shows it, still empty."""
    text: str
    whole: Json
    """The block as a message that is not streamed shows it."""


def sse(name: str, payload: Json) -> bytes:
    """Return one server-sent event."""
    return f"event: {name}\ndata: {json_text(payload)}\n\n".encode("utf-8", "replace")


def as_block(content: Json) -> Block:
    """Return the block ready to be streamed."""
    if content["type"] == "tool_use":
        return Block(
            {**content, "input": {}}, json_text(content["input"]) if content["input"] else "", content
        )
    if content["type"] == "thinking":
        return Block({**content, "thinking": "", "signature": ""}, content["thinking"], content)
    return Block({**content, "text": ""}, content["text"], content)


def stream_events(message: Json, blocks: list[Block]) -> Iterator[Event]:
    """Yield the events of the message in the API's order; `message` is the whole reply."""
    usage = message["usage"]
    opening: Json = {
        **message,
        "content": list[Json](),
        "stop_reason": None,
        "stop_details": None,
        "usage": {**usage, "output_tokens": 1},
    }
    yield "message_start", {"type": "message_start", "message": opening}
    yield "ping", {"type": "ping"}
    for index, block in enumerate(blocks):
        yield from _block_events(index, block)
    stop = {name: message[name] for name in ("stop_reason", "stop_sequence", "stop_details")}
    yield "message_delta", {"type": "message_delta", "delta": stop, "usage": _closing_usage(usage)}
    yield "message_stop", {"type": "message_stop"}


def _closing_usage(usage: Json) -> Json:
    return {name: value for name, value in usage.items() if name != "cache_creation"}


def _block_events(index: int, block: Block) -> Iterator[Event]:
    yield "content_block_start", {"type": "content_block_start", "index": index, "content_block": block.start}
    for delta in _deltas(block):
        yield "content_block_delta", {"type": "content_block_delta", "index": index, "delta": delta}
    yield "content_block_stop", {"type": "content_block_stop", "index": index}


def _deltas(block: Block) -> Iterator[Json]:
    kind = block.start["type"]
    if kind == "tool_use":
        yield {"type": "input_json_delta", "partial_json": ""}
        for piece in _pieces(block.text, JSON_PIECE):
            yield {"type": "input_json_delta", "partial_json": piece}
        return
    field = "thinking" if kind == "thinking" else "text"
    for piece in _pieces(block.text, TEXT_PIECE):
        yield {"type": f"{field}_delta", field: piece}
    if kind == "thinking":
        yield {"type": "signature_delta", "signature": block.whole["signature"]}


def _pieces(text: str, size: int) -> Iterator[str]:
    for start in range(0, len(text), size):
        yield text[start : start + size]
