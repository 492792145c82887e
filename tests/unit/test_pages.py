"""What stays of a page when its image has left."""

import pytest

from activities.pages import MAX_CHARS, Seen, describe, read_seen


def test_screens_that_saw_the_same_share_a_line():
    """Title, status, text, errors."""
    seen = Seen("Habits", 200, "Hello\n there", ("a", "b"), 2)

    assert (
        "desktop and mobile: HTTP 200, title 'Habits', it reads 'Hello there', 2 console errors: a; b"
    ) == describe({"desktop": seen, "mobile": seen})


def test_screens_that_differ_are_told_apart():
    """Each in its own line."""
    seen = {"desktop": Seen(text="wide"), "mobile": Seen(error_count=1, errors=("x",))}

    assert [
        "desktop: no title, it reads 'wide', no console errors",
        "mobile: no title, nothing to read on it, 1 console error: x",
    ] == describe(seen).splitlines()


def test_a_description_is_short():
    """However much a page says."""
    long = Seen("t" * 999, 200, "x" * 9_999, ("e" * 999,) * 9, 10**6)

    assert 700 > len(describe({"desktop": long}))
    assert MAX_CHARS >= len(describe({name: long._replace(text=name * 999) for name in ("a", "b", "c")}))


@pytest.mark.parametrize(
    "given", [{}, {"title": None, "status": None, "errors": None}, {"errors": "x", "text": 5}]
)
def test_what_the_runner_does_not_know_is_left_out(given: dict):
    """An older runner, or a page whose script does not answer."""
    assert read_seen(given).errors == ()
