"""What the API refuses in a request as a whole: its fields, model, limits, tools and cache marks."""

import re
from typing import Any

from starter.local.model.catalogue import Model
from starter.local.model.errors import invalid
from starter.local.model.prefix import blocks_of
from starter.local.model.values import Json, is_object, items

MAX_CACHE_BREAKPOINTS = 4

_REMOVED = ("temperature", "top_p", "top_k")
_FIELDS = frozenset(
    (
        *("cache_control", "container", "context_management", "diagnostics", "inference_geo", "max_tokens"),
        *(
            "messages",
            "metadata",
            "model",
            "output_config",
            "service_tier",
            "speed",
            "stop_sequences",
            "stream",
        ),
        *("system", "thinking", "tool_choice", "tools"),
    )
)
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def check_fields(body: Any, *, counting: bool = False) -> Json:
    """Return the body as an object whose top-level fields the API knows."""
    if not is_object(body):
        raise invalid("The request body is not a JSON object")
    for name in body:
        if name in _REMOVED:
            raise invalid(f"{name}: this parameter is no longer supported")
        if name not in _FIELDS:
            raise invalid(f"{name}: Extra inputs are not permitted")
    for name in ("model", "messages") if counting else ("model", "messages", "max_tokens"):
        if body.get(name) is None:
            raise invalid(f"{name}: Field required")
    return body


def check_settings(body: Json, model: Model, *, counting: bool = False) -> None:
    """Refuse limits, thinking and tool settings that the model does not take."""
    if not counting:
        _check_max_tokens(body["max_tokens"], model)
    thinking: Json = body.get("thinking") or {}
    choice: Json = body.get("tool_choice") or {}
    if model.thinking_always_on and thinking.get("type") == "disabled":
        raise invalid(f'thinking.type: "disabled" is not supported on {model.id}')
    if model.preserved_thinking and thinking.get("type") == "enabled":
        raise invalid(f'thinking.type: "enabled" is not supported on {model.id}; use "adaptive"')
    if model.thinking_always_on and choice.get("type") in ("any", "tool"):
        raise invalid(f"tool_choice: forcing a tool is not supported on {model.id}")
    check_tools(items(body, "tools"))
    check_cache_marks(body)


def _check_max_tokens(max_tokens: Any, model: Model) -> None:
    if not isinstance(max_tokens, int) or isinstance(max_tokens, bool):
        raise invalid("max_tokens: Input should be a valid integer")
    if max_tokens < 1:
        raise invalid("max_tokens: Input should be greater than or equal to 1")
    if max_tokens > model.max_tokens:
        limit = f"the maximum allowed number of output tokens for {model.id}"
        raise invalid(f"max_tokens: {max_tokens} > {model.max_tokens}, which is {limit}")


def check_tools(tools: list[Json]) -> None:
    """Refuse a tool without a legal, unique name or an object schema."""
    seen: set[str] = set()
    for index, tool in enumerate(tools):
        where = f"tools.{index}.custom"
        name = str(tool.get("name", ""))
        if not _TOOL_NAME.fullmatch(name):
            raise invalid(f"{where}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'")
        if name in seen:
            raise invalid("tools: Tool names must be unique.")
        seen.add(name)
        schema: Any = tool.get("input_schema")
        if not is_object(schema):
            raise invalid(f"{where}.input_schema: Field required")
        if schema.get("type") != "object":
            raise invalid(f"{where}.input_schema.type: Input should be 'object'")


def check_cache_marks(body: Json) -> None:
    """Refuse more than four breakpoints, an unknown lifetime, or a longer one after a shorter."""
    marks = [block["cache_control"] for block in _marked_blocks(body)]
    if len(marks) > MAX_CACHE_BREAKPOINTS:
        found = f"A maximum of {MAX_CACHE_BREAKPOINTS} blocks with cache_control may be provided."
        raise invalid(f"{found} Found {len(marks)}.")
    short = False
    for mark in marks:
        ttl = mark.get("ttl", "5m")
        if mark.get("type") != "ephemeral" or ttl not in ("5m", "1h"):
            raise invalid("cache_control: type should be 'ephemeral' and ttl '5m' or '1h'")
        if ttl == "1h" and short:
            raise invalid("cache_control: a ttl='1h' block must not come after a ttl='5m' block")
        short = short or ttl == "5m"


def _marked_blocks(body: Json) -> list[Json]:
    blocks: list[Json] = [*items(body, "tools"), *blocks_of(body.get("system"))]
    for message in items(body, "messages"):
        for block in blocks_of(message.get("content")):
            blocks += [block, *_inner_blocks(block)]
    return [block for block in [*blocks, body] if block.get("cache_control")]


def _inner_blocks(block: Json) -> list[Json]:
    return [] if isinstance(block.get("content"), str) else items(block, "content")
