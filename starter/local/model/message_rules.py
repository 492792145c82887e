"""What the API refuses in the messages: roles, blocks, and tool calls that are not answered exactly once."""

from collections.abc import Callable
from typing import Any

from starter.local.model.errors import ApiError, invalid
from starter.local.model.prefix import blocks_of
from starter.local.model.values import Json, is_list, is_object

MAX_MESSAGES = 100_000

_KINDS = {
    "user": frozenset({"text", "image", "document", "tool_result", "search_result"}),
    "assistant": frozenset({"text", "thinking", "redacted_thinking", "tool_use"}),
    "system": frozenset({"text"}),
}
_RESULT_KINDS = frozenset({"text", "image", "document", "search_result", "tool_reference"})
_REQUIRED = {
    "text": ("text",),
    "image": ("source",),
    "thinking": ("thinking", "signature"),
    "tool_use": ("id", "name", "input"),
    "tool_result": ("tool_use_id",),
}
_IMAGE_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")


def check_messages(messages: Any) -> None:
    """Raise the API's 400 for the first rule that the messages break."""
    if not is_list(messages) or not messages:
        raise invalid("messages: at least one message is required")
    history = messages
    if len(history) > MAX_MESSAGES:
        raise invalid(f"messages: at most {MAX_MESSAGES} messages are allowed")
    for index, message in enumerate(history):
        _check_message(message, index)
    if history[0]["role"] != "user":
        raise invalid('messages: first message must use the "user" role')
    _check_order(history)
    _check_pairing(history)


def _check_message(message: Any, index: int) -> None:
    where = f"messages.{index}"
    if not is_object(message) or message.get("role") not in _KINDS:
        raise invalid(f"{where}.role: Input should be 'user', 'assistant' or 'system'")
    content: Any = message.get("content")
    if not isinstance(content, str) and not is_list(content):
        raise invalid(f"{where}.content: Input should be a valid string or list")
    if not content:
        raise invalid(f"{where}: all messages must have non-empty content")
    for position, block in enumerate(content if is_list(content) else blocks_of(content)):
        _check_block(block, allowed=_KINDS[message["role"]], where=f"{where}.content.{position}")


def _check_block(block: Any, *, allowed: frozenset[str], where: str) -> None:
    if not is_object(block) or block.get("type") not in allowed:
        kind = block.get("type") if is_object(block) else block
        raise invalid(
            f"{where}: Input tag {kind!r} does not match any of the expected tags: {sorted(allowed)}"
        )
    kind = block["type"]
    for name in _REQUIRED.get(kind, ()):
        if name not in block:
            raise invalid(f"{where}.{kind}.{name}: Field required")
    if kind in _CHECKS:
        _CHECKS[kind](block, where)


def _check_text(block: Json, where: str) -> None:
    if not isinstance(block["text"], str):
        raise invalid(f"{where}.text.text: Input should be a valid string")
    if not block["text"]:
        raise invalid("messages: text content blocks must be non-empty")
    if not block["text"].strip():
        raise invalid("messages: text content blocks must contain non-whitespace text")


def _check_image(block: Json, where: str) -> None:
    source: Any = block["source"]
    if is_object(source) and source.get("type") == "base64" and source.get("media_type") not in _IMAGE_TYPES:
        raise invalid(f"{where}.image.source.base64.media_type: Input should be one of {list(_IMAGE_TYPES)}")


def _check_use(block: Json, where: str) -> None:
    if not is_object(block["input"]):
        raise invalid(f"{where}.tool_use.input: Input should be a valid dictionary")


def _check_result(block: Json, where: str) -> None:
    content: Any = block.get("content", "")
    if isinstance(content, str):
        return
    if not is_list(content):
        raise invalid(f"{where}.tool_result.content: Input should be a valid string or list")
    for position, item in enumerate(content):
        _check_block(item, allowed=_RESULT_KINDS, where=f"{where}.tool_result.content.{position}")


_CHECKS: dict[str, Callable[[Json, str], None]] = {
    "text": _check_text,
    "image": _check_image,
    "tool_use": _check_use,
    "tool_result": _check_result,
}


def _check_order(history: list[Json]) -> None:
    if history[-1]["role"] == "assistant":
        prefill = "This model does not support assistant message prefill."
        raise invalid(f"{prefill} The conversation must end with a user message.")
    for index, message in enumerate(history):
        if message["role"] == "system" and (index == 0 or history[index - 1]["role"] != "user"):
            raise invalid(f"messages.{index}: a system message must follow a user message")


def _check_pairing(history: list[Json]) -> None:
    known: set[str] = set()
    asked: list[str] = []
    for index, message in enumerate(history):
        blocks = blocks_of(message["content"])
        _check_answers(asked, blocks, index=index)
        asked = [str(block["id"]) for block in blocks if block["type"] == "tool_use"]
        if len(asked) != len(set(asked)) or known & set(asked):
            raise invalid("messages: `tool_use` ids must be unique")
        known |= set(asked)


def _check_answers(asked: list[str], blocks: list[Json], *, index: int) -> None:
    answered = [str(block["tool_use_id"]) for block in blocks if block["type"] == "tool_result"]
    for position, block in enumerate(blocks):
        if block["type"] == "tool_result" and block["tool_use_id"] not in asked:
            raise _unexpected(str(block["tool_use_id"]), f"messages.{index}.content.{position}")
    for tool_use_id in answered:
        if answered.count(tool_use_id) > 1:
            multiple = f"Found multiple `tool_result` blocks with id: {tool_use_id}"
            raise invalid(f"messages.{index}.content: each tool_use must have a single result. {multiple}")
    missing = [tool_use_id for tool_use_id in asked if tool_use_id not in answered]
    leading = [block["type"] == "tool_result" for block in blocks[: len(answered)]]
    if missing or not all(leading):
        raise _unanswered(missing or asked, index - 1)


def _unexpected(tool_use_id: str, where: str) -> ApiError:
    return invalid(
        f"{where}: unexpected `tool_use_id` found in `tool_result` blocks: {tool_use_id}. Each `tool_result` "
        "block must have a corresponding `tool_use` block in the previous message."
    )


def _unanswered(missing: list[str], index: int) -> ApiError:
    return invalid(
        f"messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after: "
        f"{', '.join(missing)}. Each `tool_use` block must have a corresponding `tool_result` block at the "
        "start of the next message."
    )
