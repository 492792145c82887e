"""Puts a streamed reply together from its events, once each, and refuses one that did not arrive whole.

The vendor's own accumulator parses a tool's input again on every event and takes a cut stream for a reply.
"""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from anthropic.types import (
    RawContentBlockDelta,
    RawContentBlockDeltaEvent,
    RawContentBlockStartEvent,
    RawMessageDeltaEvent,
    RawMessageStreamEvent,
)
from pydantic import TypeAdapter

from activities.metering import Meter
from activities.prices import Usage
from activities.rows import dump

_OBJECT = TypeAdapter(dict[str, Any])


class CutStream(ConnectionError):
    """The stream ended before its end, or holds what cannot be put together: what came is no reply."""


class Reply:
    """A reply as far as it has come."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.stop_reason = ""
        self.why_refused = ""
        """Why the model declined, in the provider's words."""
        self.is_whole = False
        self._blocks: dict[int, dict[str, Any]] = {}
        self._parts: dict[int, list[str]] = {}
        """Of the blocks that have not ended."""
        self._counted: dict[str, int] = {}
        self._meter = Meter(clock)

    def add(self, event: RawMessageStreamEvent) -> str:
        """Take in an event; gives the text it adds for people, if any.

        Raises CutStream for one that does not fit: the vendor's client does not check what it is sent.
        """
        try:
            return self._take(event)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise CutStream("The model's stream makes no sense; it is asked again.") from error

    def _take(self, event: RawMessageStreamEvent) -> str:
        match event.type:
            case "message_start":
                self._count(event.message.usage.to_dict())
            case "content_block_start":
                self._begin(event)
            case "content_block_delta":
                return self._extend(event)
            case "content_block_stop":
                self._finish(event.index)
            case "message_delta":
                self._end(event)
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

    def used(self, seen: Usage, *, most: int) -> Usage:
        """Bound what was used until now, of input `seen` and of an output ceiling of `most` tokens."""
        output = max(self.usage.output_tokens, min(most, self._meter.tokens))
        return replace(seen, output_tokens=output)

    def body(self) -> str:
        """Give the one JSON text of the content; raises CutStream if the reply is not whole."""
        if not self.is_whole or not self.stop_reason or self._parts:
            raise CutStream("The model's reply was cut off; it is asked again.")
        # An empty text block is refused when it is sent back.
        return dump(
            [block for block in self._blocks.values() if block.get("text") or block["type"] != "text"]
        )

    def _count(self, usage: dict[str, object]) -> None:
        # Only the first event of a stream tells the lifetimes of what was written apart.
        by_lifetime = _OBJECT.validate_python(usage.get("cache_creation") or {})
        counted = {**usage, **by_lifetime}
        self._counted.update({key: value for key, value in counted.items() if isinstance(value, int)})

    def _begin(self, event: RawContentBlockStartEvent) -> None:
        block: dict[str, Any] = event.content_block.to_dict(mode="json")
        self._meter.open(block["type"], dump(block))
        self._blocks[event.index], self._parts[event.index] = block, []

    def _end(self, event: RawMessageDeltaEvent) -> None:
        self.stop_reason = event.delta.stop_reason or self.stop_reason
        self._count(event.usage.to_dict())
        if event.delta.stop_details is not None:
            self.why_refused = _reason(event.delta.stop_details.to_dict())

    def _extend(self, event: RawContentBlockDeltaEvent) -> str:
        block, parts, delta = self._blocks[event.index], self._parts[event.index], event.delta
        self._meter.hear(_piece(delta))
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
        block, text = self._blocks[index], "".join(self._parts.pop(index))
        self._meter.close()
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
        case "text_delta":
            return delta.text
        case "input_json_delta":
            return delta.partial_json
        case "thinking_delta":
            return delta.thinking
        case _:
            return ""


def _reason(details: dict[str, Any]) -> str:
    """Give the provider's words on a refusal and the policy's category, as far as it says either."""
    said, category = details.get("explanation"), details.get("category")
    category = f"category {category}" if category else ""
    return f"{said} ({category})" if said and category else said or category


def _tool_input(text: str) -> dict[str, Any]:
    """Parse a tool's input; one that is cut or broken is kept as it is and will not validate."""
    try:
        return _OBJECT.validate_python(json.loads(text, parse_constant=_refuse))
    except ValueError:
        return {"malformed_json": text}


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
