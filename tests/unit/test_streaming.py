"""Narration is cut where sentences end."""

import pytest

from activities.streaming import Sentences


@pytest.mark.parametrize(
    ("pieces", "ended", "left"),
    [
        (["We beg", "in. Then", " we go on"], ["We begin."], ["Then we go on"]),
        (["One! Two? Three", ".\n"], ["One!", "Two?", "Three."], []),
        (["version 1.2 is", " out."], [], ["version 1.2 is out."]),
        (["\n\n", " \n"], [], []),
    ],
)
def test_a_sentence_is_given_once_it_has_ended(pieces: list[str], ended: list[str], left: list[str]):
    """However the text arrives; what has not ended is left until the text ends, and told once."""
    sentences = Sentences()

    assert ended == [sentence for piece in pieces for sentence in sentences.add(piece)]
    assert (left, []) == (sentences.rest(), sentences.rest())
