"""Texts as everything after us can hold them. Pure."""

import re
from typing import cast

from pydantic import JsonValue

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def clean(value: JsonValue) -> JsonValue:
    """Replace NUL and lone surrogates, which neither database nor model takes, by U+FFFD."""
    if isinstance(value, str):
        return _UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, list):
        return [clean(item) for item in value]
    if isinstance(value, dict):
        return {cast("str", clean(key)): clean(item) for key, item in value.items()}
    return value
