"""What this worker remembers of sandboxes' captures, so that it need not ask: what waits, what is committed.

Only hints: they may be lost at any moment, and an older one than the workflow knows of is not believed.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from workflows.files import SandboxRef

MAX_SANDBOXES: Final = 100
"""How many sandboxes a worker remembers, those used last."""
INLINE_BYTES: Final = 64 * 1024
"""Up to so many bytes of packs and manifest come with the runner's answer; more are fetched."""


@dataclass
class _Known:
    waiting: tuple[int, Mapping[str, Any]] | None = None
    committed: Mapping[str, Any] | None = None


class Captures:
    """Carries what a tool call's answer said over to the snapshot after it, and back."""

    def __init__(self, *, limits: Mapping[str, int] | None = None, whole: bool = False) -> None:
        self._limits = dict(limits or {})
        self.whole = whole
        """Whether each snapshot packs every file again."""
        self._known: OrderedDict[tuple[str, int], _Known] = OrderedDict()

    def fields(self, sandbox: SandboxRef) -> dict[str, Any]:
        """Give what every request carries that captures or asks what is pending."""
        told = {"inline": INLINE_BYTES, "published": self._of(sandbox).committed}
        return {**told, "limits": self._limits} if self._limits else told

    def keep(self, sandbox: SandboxRef, *, number: int, pending: Mapping[str, Any] | None) -> None:
        """Remember what the runner said is pending as of a capture; none: it could not say."""
        self._of(sandbox).waiting = (number, pending) if pending is not None else None

    def take(self, sandbox: SandboxRef, *, least: int) -> Mapping[str, Any] | None:
        """Give, once, what is pending; none where that is older than capture `least`, or not known."""
        known = self._of(sandbox)
        waiting, known.waiting = known.waiting, None
        return waiting[1] if waiting and waiting[0] >= least else None

    def commit(self, sandbox: SandboxRef, *, number: int, key: str, sha256: str) -> None:
        """Remember a committed manifest: the runner may forget its packs and builds the next one on it."""
        self._of(sandbox).committed = {"number": number, "key": key, "sha256": sha256}

    def _of(self, sandbox: SandboxRef) -> _Known:
        key = (sandbox.sandbox_id, sandbox.generation)
        known = self._known.setdefault(key, _Known())
        self._known.move_to_end(key)
        while len(self._known) > MAX_SANDBOXES:
            self._known.popitem(last=False)
        return known
