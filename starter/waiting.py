"""What a build waits for, as the server knows it: an activity that is tried again, or takes long."""

import time
from collections.abc import Callable, Sequence
from datetime import timedelta

from temporalio.api.workflow.v1 import PendingActivityInfo

SILENCE = timedelta(seconds=15)
"""How long nothing may be shown before it is said what runs."""


class Waits:
    """What was said of waiting, so that nothing is said twice."""

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._heard_at = now()
        self._failures: dict[tuple[str, int], str] = {}
        """Activity and attempt → its id, empty where only its event told of it."""
        self._slow: set[tuple[str, int]] = set()

    def heard(self) -> None:
        """Something was shown just now."""
        self._heard_at = self._now()

    def told_by_event(self, activity: str, attempt: int) -> bool:
        """Note that an event tells of a failure; whether it was told already."""
        known = (activity, attempt) in self._failures
        self._failures.setdefault((activity, attempt), "")
        return known

    def lines(self, pending: Sequence[PendingActivityInfo]) -> list[str]:
        """Say each new failure of what is tried again, and after a silence what runs."""
        failing = [one for one in pending if one.HasField("last_failure")]
        new = [one for one in failing if self._failures.get(_key(one)) not in ("", one.activity_id)]
        self._failures = {_key(one): one.activity_id for one in failing}
        said = [_failure(one) for one in new] or self._silence(pending)
        if said:
            self.heard()
        return said

    def _silence(self, pending: Sequence[PendingActivityInfo]) -> list[str]:
        if self._now() - self._heard_at <= SILENCE.total_seconds():
            return []
        slow = {(one.activity_id, one.attempt): one.activity_type.name for one in pending}
        new = [name for key, name in slow.items() if key not in self._slow]
        self._slow = set(slow)
        return [f"waits for {name}, which has not ended yet" for name in new]


def _key(one: PendingActivityInfo) -> tuple[str, int]:
    return one.activity_type.name, one.attempt - 1


def _failure(one: PendingActivityInfo) -> str:
    why = " ".join(one.last_failure.message.split())
    return f"waits for {one.activity_type.name}, attempt {one.attempt - 1} failed: {why}"
