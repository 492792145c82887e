"""Thinking signatures: each is bound to its text and to everything that came before it."""

import hashlib

from starter.local.model.errors import invalid
from starter.local.model.values import Json

_VERSION = "local1"
_ELSEWHERE = (
    "The block is bound to a different conversation. Remove the block, or set "
    '`thinking.block_binding.prefix_mismatch_behavior` to "drop_block".'
)


def sign(thinking: str, *, prefix: str) -> str:
    """Return the signature of a thinking text said after the given prefix digest."""
    seal = _seal(thinking, prefix)
    return f"{_VERSION}.{prefix}.{seal}"


def verify(messages: list[Json], prefixes: list[str]) -> None:
    """Raise the API's 400 for a thinking block that was changed or moved."""
    for index, message in enumerate(messages):
        if message.get("role") != "assistant" or isinstance(message.get("content"), str):
            continue
        for position, block in enumerate(message.get("content") or []):
            if block.get("type") == "thinking":
                _verify_block(block, prefixes[index], where=f"messages.{index}.content.{position}")


def _verify_block(block: Json, prefix: str, *, where: str) -> None:
    version, _, rest = str(block.get("signature")).partition(".")
    bound, _, seal = rest.partition(".")
    thinking = str(block.get("thinking"))
    if version != _VERSION or seal != _seal(thinking, bound):
        raise invalid(f"{where}: Invalid `signature` in `thinking` block")
    if bound != prefix:
        raise invalid(f"{where}: Invalid `signature` in `thinking` block. {_ELSEWHERE}")


def _seal(thinking: str, prefix: str) -> str:
    return hashlib.sha256(f"{_VERSION}\x1f{prefix}\x1f{thinking}".encode("utf-8", "replace")).hexdigest()[:32]
