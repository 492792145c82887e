"""Puts a streamed reply together from its events, once each, and refuses one that did not arrive whole.

The vendor's own accumulator parses a tool's input again on every event and takes a cut stream for a reply.
"""

import json
from typing import Any

from anthropic.types import RawContentBlockDelta, RawContentBlockDeltaEvent, RawMessageStreamEvent
from pydantic import TypeAdapter

from activities.prices import Usage
from activities.rows import dump

_OBJECT = TypeAdapter(dict[str, Any])


class CutStream(ConnectionError):
    """The stream ended without `message_stop`: what came is no reply."""


class Reply:
    """A reply as far as it has come."""

    def __init__(self) -> None:
        self.stop_reason = ""
        self.is_whole = False
        self._blocks: list[dict[str, Any]] = []
        self._parts: list[list[str]] = []
        self._counted: dict[str, int] = {}

    def add(self, event: RawMessageStreamEvent) -> str:
        """Take in an event; gives the text it adds for people, if any."""
        match event.type:
            case "message_start":
                self._count(event.message.usage.to_dict())
            case "content_block_start":
                self._blocks.append(event.content_block.to_dict(mode="json"))
                self._parts.append([])
            case "content_block_delta":
                return self._extend(event)
            case "content_block_stop":
                self._finish(event.index)
            case "message_delta":
                self.stop_reason = event.delta.stop_reason or self.stop_reason
                self._count(event.usage.to_dict())
            case "message_stop":
                self.is_whole = True
        return ""

    @property
    def is_begun(self) -> bool:
        """Whether the provider has counted the input: from here on it may be billed."""
        return bool(self._counted)

    @property
    def usage(self) -> Usage:
        """What the provider counted so far."""
        counted = self._counted
        read = counted.get("cache_read_input_tokens", 0)
        written = counted.get("cache_creation_input_tokens", 0)
        hour = min(written, counted.get("ephemeral_1h_input_tokens", 0))
        return Usage(
            input_tokens=counted.get("input_tokens", 0) + read + written,
            cache_read_tokens=read,
            cache_write_tokens=written,
            cache_write_1h_tokens=hour,
            output_tokens=counted.get("output_tokens", 0),
        )

    def body(self) -> str:
        """Give the one JSON text of the content; raises CutStream if the reply is not whole."""
        if not self.is_whole or not self.stop_reason:
            raise CutStream("The model's reply was cut off; it is asked again.")
        # An empty text block is refused when it is sent back.
        return dump([block for block in self._blocks if block.get("text") or block["type"] != "text"])

    def _count(self, usage: dict[str, object]) -> None:
        # Only the first event of a stream tells the lifetimes of what was written apart.
        by_lifetime = _OBJECT.validate_python(usage.get("cache_creation") or {})
        counted = {**usage, **by_lifetime}
        self._counted.update({key: value for key, value in counted.items() if isinstance(value, int)})

    def _extend(self, event: RawContentBlockDeltaEvent) -> str:
        block, parts, delta = self._blocks[event.index], self._parts[event.index], event.delta
        match delta.type:
            case "text_delta":
                parts.append(delta.text)
                return delta.text
            case "signature_delta":
                block["signature"] = delta.signature
            case "citations_delta":
                block.setdefault("citations", []).append(delta.citation.to_dict(mode="json"))
            case _:
                parts.append(_piece(delta))
        return ""

    def _finish(self, index: int) -> None:
        block, text = self._blocks[index], "".join(self._parts[index])
        match block["type"]:
            case "text" | "thinking" as field:
                field = "text" if field == "text" else "thinking"
                block[field] = block.get(field, "") + text
            case "tool_use" if text:
                block["input"] = _tool_input(text)
            case _:
                pass


def _piece(delta: RawContentBlockDelta) -> str:
    match delta.type:
        case "input_json_delta":
            return delta.partial_json
        case "thinking_delta":
            return delta.thinking
        case _:
            return ""


def _tool_input(text: str) -> dict[str, Any]:
    """Parse a tool's input; one that is cut or broken is kept as it is and will not validate."""
    try:
        return _OBJECT.validate_python(json.loads(text, parse_constant=_refuse))
    except ValueError:
        return {"malformed_json": text}


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
