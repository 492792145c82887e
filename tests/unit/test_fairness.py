import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.common import Priority

from workflows.fairness import LONGEST_KEY, share_of


def test_a_user_is_a_line_of_their_own():
    """The line is the user's, its share the plan's weight."""
    assert Priority(fairness_key="ada", fairness_weight=5.0) == share_of("ada", 5)


@given(st.text(st.characters(exclude_categories=()), max_size=200))
def test_the_server_takes_every_user(user: str):
    """A key that is too long or no UTF-8 would hang the build on a refused step."""
    key = share_of(user).fairness_key or ""

    assert len(key.encode()) <= LONGEST_KEY


@pytest.mark.parametrize("place", [0, 63, 64, 150])
def test_long_names_are_told_apart(place: int):
    """Two users never share a line because their names begin or end alike."""
    name = "u" * 200

    assert share_of(name).fairness_key != share_of(name[:place] + "v" + name[place + 1 :]).fairness_key
