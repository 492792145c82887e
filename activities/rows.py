"""The rows of a conversation as values, the JSON text they hold, and a cache of them. Knows no database."""

import hashlib
import json
import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Literal

CACHED_CHARS = 64_000_000
"""How much text of rows a worker keeps; a cache, rows never change."""

IMAGE_WEIGHT = 6_000
"""What an image weighs, however long its text is: about as many tokens as so many bytes of words."""
_IMAGE = re.compile(r'"type":"base64","media_type":"[^"]*","data":"[^"]*"')

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the conversation."""

    id: int
    build_id: str
    parent_id: int | None
    role: Role
    body: str
    """JSON text: of the content list; of `{system, tools}` in a system row."""
    epoch: int = 0


def dump(value: Any) -> str:
    """Give the JSON text that is stored and sent; lone surrogates, which no UTF-8 can hold, are replaced."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def digest(role: Role, body: str) -> str:
    """Name a row by what it says, so that it is appended once."""
    return hashlib.sha256(f"{role}\0{body}".encode()).hexdigest()


def weight(body: str) -> int:
    """Give the bytes of a JSON text, with each image at a flat weight: what tokens go by."""
    words, images = _IMAGE.subn("", body)
    return len(words.encode()) + images * IMAGE_WEIGHT


def images_in(body: str) -> int:
    """Count the images of a JSON text."""
    return len(_IMAGE.findall(body))


class RowCache:
    """Rows by id, the least used dropped first; rows never change."""

    def __init__(self) -> None:
        self._rows: OrderedDict[int, Row] = OrderedDict()
        self._chars = 0

    def keep(self, row: Row) -> None:
        """Remember a row."""
        if row.id not in self._rows:
            self._chars += len(row.body)
        self._rows[row.id] = row
        self._rows.move_to_end(row.id)
        while self._chars > CACHED_CHARS and len(self._rows) > 1:
            _, dropped = self._rows.popitem(last=False)
            self._chars -= len(dropped.body)

    def path(self, head: int) -> tuple[Row, ...] | None:
        """Give the rows up to `head` if all are known."""
        rows: list[Row] = []
        row_id: int | None = head
        while row_id is not None:
            if (row := self._rows.get(row_id)) is None:
                return None
            self._rows.move_to_end(row_id)
            rows.append(row)
            row_id = None if row.role == "system" else row.parent_id
        return tuple(reversed(rows))
