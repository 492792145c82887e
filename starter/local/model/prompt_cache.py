"""The prompt cache as usage shows it: prefixes written at breakpoints, read while they live; no text."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from starter.local.model.prefix import Ttl, Unit

LOOKBACK_BLOCKS = 20
MIN_CACHEABLE_TOKENS = 1_024
MAX_ENTRIES = 20_000
LIFETIME_SECONDS: dict[Ttl, float] = {"5m": 300.0, "1h": 3600.0}


@dataclass(frozen=True)
class InputUsage:
    """Where the input tokens of one request came from."""

    input_tokens: int
    cache_read_input_tokens: int = 0
    written_5m: int = 0
    written_1h: int = 0

    def as_json(self) -> dict[str, object]:
        """Return the fields of the API's usage object."""
        return {
            "input_tokens": self.input_tokens,
            "cache_creation_input_tokens": self.written_5m + self.written_1h,
            "cache_read_input_tokens": self.cache_read_input_tokens,
            "cache_creation": {
                "ephemeral_5m_input_tokens": self.written_5m,
                "ephemeral_1h_input_tokens": self.written_1h,
            },
        }


@dataclass
class _Entry:
    ttl: Ttl
    expires: float


class PromptCache:
    """Prefixes by digest, the least recently used dropped first."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    def serve(self, units: list[Unit]) -> InputUsage:
        """Read the longest live prefix, write on to the last breakpoint, and return what each took."""
        total = units[-1].total if units else 0
        marked = [index for index, unit in enumerate(units) if unit.ttl is not None]
        read = self._read(units, marked)
        written: dict[Ttl, int] = {"5m": 0, "1h": 0}
        reached = read
        for index in marked:
            unit = units[index]
            if unit.ttl is None or unit.total < MIN_CACHEABLE_TOKENS:
                continue
            self._write(unit.chain, unit.ttl)
            written[unit.ttl] += max(0, unit.total - reached)
            reached = max(reached, unit.total)
        return InputUsage(total - reached, read, written["5m"], written["1h"])

    def _read(self, units: list[Unit], marked: list[int]) -> int:
        for index in reversed(marked):
            for unit in reversed(units[max(0, index + 1 - LOOKBACK_BLOCKS) : index + 1]):
                if self._alive(unit.chain):
                    return unit.total
        return 0

    def _alive(self, chain: str) -> bool:
        entry = self._entries.get(chain)
        if entry is None or entry.expires <= self._clock():
            return False
        entry.expires = self._clock() + LIFETIME_SECONDS[entry.ttl]
        self._entries.move_to_end(chain)
        return True

    def _write(self, chain: str, ttl: Ttl) -> None:
        held = self._entries.get(chain)
        keep: Ttl = "1h" if held is not None and held.ttl == "1h" and self._alive(chain) else ttl
        self._entries[chain] = _Entry(keep, self._clock() + LIFETIME_SECONDS[keep])
        self._entries.move_to_end(chain)
        while len(self._entries) > MAX_ENTRIES:
            self._entries.popitem(last=False)
