"""The rules of `activities/silences.py`."""

from dataclasses import replace

from temporalio.testing import ActivityEnvironment

from activities.silences import MAX_KEPT, Silences


def asked_by(silences: Silences, activity_id: str, sandbox_id: str = "s", *, attempt: int = 1) -> int:
    environment = ActivityEnvironment()
    environment.info = replace(environment.info, activity_id=activity_id, attempt=attempt)
    return environment.run(silences.count, sandbox_id)


def test_an_activity_counts_its_own_over_all_attempts():
    """Calls that ask side by side, and other sandboxes, do not add up; a late attempt alone is no silence."""
    silences = Silences()

    assert [1, 2, 3] == [asked_by(silences, "a", attempt=attempt) for attempt in (1, 4, 9)]
    assert (1, 1) == (asked_by(silences, "b", attempt=9), asked_by(silences, "a", "other"))


def test_what_is_counted_is_bounded():
    """A worker that runs for months keeps no row of every activity."""
    silences = Silences()
    for number in range(MAX_KEPT):
        asked_by(silences, f"{number}")

    assert 1 == asked_by(silences, "0")
