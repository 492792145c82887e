"""Which builds are woken."""

import pytest

from activities.waking import RUNNING, running_builds


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        (None, RUNNING),
        ("ann", f"{RUNNING} AND BuildUser = 'ann'"),
        ("o'brien", f"{RUNNING} AND BuildUser = 'o''brien'"),
        ("a\\' OR 1=1", f"{RUNNING} AND BuildUser = 'a\\\\'' OR 1=1'"),
    ],
)
def test_a_name_stays_a_name(user: str | None, expected: str):
    """Quotes in a user's name do not end it, so nobody else's builds are woken."""
    assert expected == running_builds(user)
