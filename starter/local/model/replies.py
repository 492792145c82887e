"""From a checked request to the model's reply: the script's words, signed, counted and cut at max_tokens."""

from dataclasses import dataclass

from starter.local.model.catalogue import Model
from starter.local.model.conversation import read_conversation
from starter.local.model.scripts.library import next_reply
from starter.local.model.signatures import place_of, sign
from starter.local.model.steps import content_of
from starter.local.model.tokens import BYTES_PER_TOKEN, count_tokens
from starter.local.model.values import Json, json_text
from starter.local.model.wire import Block, as_block


@dataclass(frozen=True)
class Draft:
    """A reply that has not been sent."""

    blocks: list[Block]
    stop_reason: str
    output_tokens: int
    thinking_tokens: int = 0


def compose(body: Json, *, model: Model, seed: str) -> Draft:
    """Return the reply; `seed` is the digest of the whole conversation so far."""
    reply = next_reply(read_conversation(body))
    thinking: Json = body.get("thinking") or {}
    content = list(content_of(reply, seed=seed, thinking=_thinks(thinking, model)))
    if thinking.get("display") == "omitted":
        content = [{**block, "thinking": ""} if block["type"] == "thinking" else block for block in content]
    return _within(body["max_tokens"], content, place_of(model, seed))


def refused() -> Draft:
    """Return the reply of a model that declines."""
    return Draft([], "refusal", 1)


def spoil_tool_input(draft: Draft) -> Draft:
    """Return the reply with the JSON of its last tool input broken off."""
    blocks = list(draft.blocks)
    for index in reversed(range(len(blocks))):
        block = blocks[index]
        if block.start["type"] == "tool_use":
            blocks[index] = Block(block.start, block.text[:-2] or '{"', {**block.whole, "input": {}})
            break
    return Draft(blocks, draft.stop_reason, draft.output_tokens, draft.thinking_tokens)


def _thinks(thinking: Json, model: Model) -> bool:
    kind = thinking.get("type")
    return kind in ("adaptive", "enabled") or (kind is None and model.preserved_thinking)


def _within(max_tokens: int, content: list[Json], place: str) -> Draft:
    stop_reason = "tool_use" if any(block["type"] == "tool_use" for block in content) else "end_turn"
    blocks: list[Block] = []
    left, thought = max_tokens, 0
    for block in content:
        cost = count_tokens(_signed(block, place))
        thought += min(cost, left) if block["type"] == "thinking" else 0
        if cost > left:
            blocks.append(_cut(block, left, place))
            return Draft(blocks, "max_tokens", max_tokens, thought)
        left -= cost
        blocks.append(as_block(_signed(block, place)))
    return Draft(blocks, stop_reason, max(1, max_tokens - left), thought)


def _signed(block: Json, place: str) -> Json:
    if block["type"] != "thinking":
        return block
    return {**block, "signature": sign(block["thinking"], place=place)}


def _cut(block: Json, tokens: int, place: str) -> Block:
    size = max(1, tokens * BYTES_PER_TOKEN // 2)
    if block["type"] == "tool_use":
        return Block({**block, "input": {}}, json_text(block["input"])[:size], {**block, "input": {}})
    field: str = block["type"]
    return as_block(_signed({**block, field: block[field][:size]}, place))
