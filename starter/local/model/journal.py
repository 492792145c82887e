"""What was asked of the server: one line a request, as digests and numbers; never any text of a prompt."""

import contextlib
import json
from collections import deque
from pathlib import Path

from starter.local.model.values import Json, json_text

KEPT = 5_000
MAX_FILE_BYTES = 16_000_000


class Journal:
    """The last requests, also in a file so that a restart keeps them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: deque[Json] = deque(maxlen=KEPT)
        self._next = 0
        if path.exists():
            self._load()

    def record(self, entry: Json) -> Json:
        """Number the request, keep it, and return what was kept."""
        numbered = {"index": self._next, **entry}
        self._next += 1
        self._entries.append(numbered)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json_text(numbered) + "\n")
        return numbered

    def count(self) -> int:
        """Return how many requests were ever recorded."""
        return self._next

    def last(self, number: int) -> list[Json]:
        """Return the last requests, oldest first."""
        return list(self._entries)[-number:] if number > 0 else []

    def clear(self) -> None:
        """Forget the requests; numbers go on."""
        self._entries.clear()
        self._path.write_text("", encoding="utf-8")

    def _load(self) -> None:
        with self._path.open(encoding="utf-8") as file:
            for line in file:
                # A killed server can leave half a line behind, and the next line runs on from it.
                with contextlib.suppress(json.JSONDecodeError):
                    self._entries.append(json.loads(line))
        if self._entries:
            self._next = int(self._entries[-1]["index"]) + 1
        if self._path.stat().st_size > MAX_FILE_BYTES:
            self._path.write_text(
                "".join(json_text(entry) + "\n" for entry in self._entries), encoding="utf-8"
            )
