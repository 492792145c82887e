"""How often sandboxes gave no answer, counted by the activity that asked."""

from collections import Counter
from typing import Final

from temporalio import activity

MAX_KEPT: Final = 1_000
"""Activities that are counted for; beyond it all counts begin anew."""


class Silences:
    """Counts for one worker; calls that ask side by side count apart."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def count(self, sandbox_id: str) -> int:
        """Count one more for the activity that asks, over its attempts, and give how many that makes."""
        if len(self._counts) >= MAX_KEPT:
            self._counts.clear()
        asker = (sandbox_id, _asker())
        self._counts[asker] += 1
        return self._counts[asker]


def _asker() -> str:
    if not activity.in_activity():
        return ""
    info = activity.info()
    return f"{info.workflow_run_id} {info.activity_id}"
