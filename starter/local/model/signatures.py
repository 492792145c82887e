"""Thinking signatures: each is bound to its text, to its model and to everything that came before it.

The API drops what some models cannot read and refuses it for others; here every model refuses.
"""

import hashlib

from starter.local.model.catalogue import Model
from starter.local.model.errors import invalid
from starter.local.model.values import Json

_VERSION = "local1"
_ELSEWHERE = (
    "The block is bound to a different conversation. Remove the block, or set "
    '`thinking.block_binding.prefix_mismatch_behavior` to "drop_block".'
)


def place_of(model: Model, prefix: str) -> str:
    """Return what a model's thinking after a prefix, given by its digest, is bound to."""
    return f"{model.id}.{prefix}"


def sign(thinking: str, *, place: str) -> str:
    """Return the signature of a thinking text said at a place."""
    return f"{_VERSION}.{place}.{_seal(thinking, place)}"


def verify(messages: list[Json], prefixes: list[str], *, model: Model) -> None:
    """Raise the API's 400 for a thinking block that was changed or moved, or that another model signed."""
    for index, message in enumerate(messages):
        if message.get("role") != "assistant" or isinstance(message.get("content"), str):
            continue
        for position, block in enumerate(message.get("content") or []):
            if block.get("type") == "thinking":
                where = f"messages.{index}.content.{position}"
                _verify_block(block, place_of(model, prefixes[index]), model, where=where)


def _verify_block(block: Json, place: str, model: Model, *, where: str) -> None:
    version, _, rest = str(block.get("signature")).partition(".")
    bound, _, seal = rest.rpartition(".")
    is_own = bound.partition(".")[0] == model.id
    if version != _VERSION or not is_own or seal != _seal(str(block.get("thinking")), bound):
        raise invalid(f"{where}: Invalid `signature` in `thinking` block")
    if model.preserved_thinking and bound != place:
        raise invalid(f"{where}: Invalid `signature` in `thinking` block. {_ELSEWHERE}")


def _seal(thinking: str, place: str) -> str:
    return hashlib.sha256(f"{_VERSION}\x1f{place}\x1f{thinking}".encode("utf-8", "replace")).hexdigest()[:32]
