"""JSON values: their types, telling them apart, and their compact text."""

import json
from typing import Any, TypeAlias

from typing_extensions import TypeIs

Json: TypeAlias = dict[str, Any]


def is_object(value: Any) -> TypeIs[Json]:
    """Whether a JSON value is an object."""
    return isinstance(value, dict)


def is_list(value: Any) -> TypeIs[list[Any]]:
    """Whether a JSON value is a list."""
    return isinstance(value, list)


def items(body: Json, name: str) -> list[Json]:
    """Return the objects of a list field; none where it is missing."""
    value: Any = body.get(name)
    return [item for item in value if is_object(item)] if is_list(value) else []


def json_text(value: Any) -> str:
    """Return the compact JSON text, key order kept."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
