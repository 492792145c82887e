"""The token rule: four bytes of JSON text a token, a flat price an image; equal texts count equal."""

from typing import Any

from starter.local.model.values import Json, is_list, is_object, json_text

BYTES_PER_TOKEN = 4
IMAGE_TOKENS = 1_000
"""Between a desktop (1280x800) and a phone picture (390x844) at 750 pixels a token."""


def count_tokens(block: Json) -> int:
    """Return the tokens of a tool definition or a content block."""
    images: list[Json] = []
    text = json_text(_without_images(block, images))
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN) + IMAGE_TOKENS * len(images)


def _without_images(value: Any, images: list[Json]) -> Any:
    if is_list(value):
        return [_without_images(item, images) for item in value]
    if not is_object(value):
        return value
    if value.get("type") == "image" and "source" in value:
        images.append(value)
        return {"type": "image"}
    content: Any = value.get("content")
    return {**value, "content": _without_images(content, images)} if is_list(content) else value
