"""A request as a chain of digests: what the prompt cache, thinking signatures and tool ids are bound to.

Cache marks are left out of every digest: moving a breakpoint changes nothing that the model reads.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from starter.local.model.tokens import count_tokens
from starter.local.model.values import Json, is_list, is_object, items, json_text

Ttl: TypeAlias = Literal["5m", "1h"]


@dataclass(frozen=True)
class Unit:
    """One tool, system block or message block, with everything before it."""

    chain: str
    """Digest of the request up to and including this block."""
    total: int
    """Tokens up to and including this block."""
    ttl: Ttl | None
    """How long a cache breakpoint here lives; None where there is none."""


def blocks_of(content: Any) -> list[Json]:
    """Return content as a list of blocks; a string is short for one text block."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [block for block in content if is_object(block)] if is_list(content) else []


def without_cache_control(block: Json) -> Json:
    """Return the block without its cache mark, nor those of blocks inside it."""
    plain = {key: value for key, value in block.items() if key != "cache_control"}
    content: Any = plain.get("content")
    if is_list(content):
        plain["content"] = [without_cache_control(item) if is_object(item) else item for item in content]
    return plain


def plain_message(message: Json) -> Json:
    """Return the message with its content as blocks and no cache marks."""
    return {
        **message,
        "content": [without_cache_control(block) for block in blocks_of(message.get("content"))],
    }


def item_digests(body: Json) -> dict[str, list[str]]:
    """Return the digest of every item of tools, system and messages."""
    return {
        "tools": [_digest(without_cache_control(tool)) for tool in items(body, "tools")],
        "system": [_digest(without_cache_control(block)) for block in blocks_of(body.get("system"))],
        "messages": [_digest(plain_message(message)) for message in items(body, "messages")],
    }


def prefix_digests(digests: dict[str, list[str]]) -> list[str]:
    """Return, for each message and for the end of the list, the digest of all that comes before it."""
    chain = [_chain("", [*digests["tools"], "|", *digests["system"]])]
    for digest in digests["messages"]:
        chain.append(_chain(chain[-1], [digest]))
    return chain


def units(body: Json) -> list[Unit]:
    """Return the request block by block, in the order of the cached prefix: tools, system, messages."""
    found: list[Unit] = []
    chain, total = str(body.get("model")), 0
    for label, block in _labelled_blocks(body):
        plain = without_cache_control(block)
        chain = _chain(chain, [label, json_text(plain)])
        total += count_tokens(plain)
        found.append(Unit(chain=chain, total=total, ttl=ttl_of(block)))
    return _with_automatic_breakpoint(body, found)


def ttl_of(block: Json) -> Ttl | None:
    """Return the lifetime of the block's cache mark."""
    mark: Any = block.get("cache_control")
    if not is_object(mark):
        return None
    return "1h" if mark.get("ttl") == "1h" else "5m"


def _labelled_blocks(body: Json) -> Iterator[tuple[str, Json]]:
    for tool in items(body, "tools"):
        yield "tool", tool
    for block in blocks_of(body.get("system")):
        yield "system", block
    # A changed tool_choice or thinking setting spoils the cache of the messages only.
    settings = json_text([body.get("tool_choice"), body.get("thinking")])
    for message in items(body, "messages"):
        for block in blocks_of(message.get("content")):
            yield f"{settings}{message.get('role')}", block


def _with_automatic_breakpoint(body: Json, found: list[Unit]) -> list[Unit]:
    ttl = ttl_of(body)
    if ttl is None or not found or found[-1].ttl is not None:
        return found
    last = found[-1]
    return [*found[:-1], Unit(chain=last.chain, total=last.total, ttl=ttl)]


def _digest(value: Any) -> str:
    return hashlib.sha256(json_text(value).encode("utf-8", "replace")).hexdigest()[:16]


def _chain(before: str, parts: list[str]) -> str:
    return hashlib.sha256("\x1f".join([before, *parts]).encode("utf-8", "replace")).hexdigest()[:32]
