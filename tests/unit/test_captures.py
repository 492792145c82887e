"""What a worker remembers of captures is a hint: given once, never older than asked for, and bounded."""

from activities.captures import INLINE_BYTES, MAX_SANDBOXES, Captures
from workflows.files import SandboxRef

PENDING = {"captures": [], "manifest": None}


def sandbox(number: int, generation: int = 1) -> SandboxRef:
    return SandboxRef(
        sandbox_id=f"s{number}", generation=generation, home="/home/user", workspace="/home/user/project"
    )


def test_what_waits_is_given_once():
    """A second snapshot asks: between them another capture may have been made."""
    captures = Captures()
    captures.keep(sandbox(1), number=3, pending=PENDING)

    assert PENDING == captures.take(sandbox(1), least=3)
    assert captures.take(sandbox(1), least=0) is None


def test_an_older_capture_than_asked_for_is_not_believed():
    """Another worker made the newer one."""
    captures = Captures()
    captures.keep(sandbox(1), number=3, pending=PENDING)

    assert captures.take(sandbox(1), least=4) is None


def test_each_sandbox_and_generation_is_its_own():
    """A sandbox that was taken over by a newer generation is another one."""
    captures = Captures()
    captures.keep(sandbox(1), number=3, pending=PENDING)

    assert captures.take(sandbox(2), least=0) is None
    assert captures.take(sandbox(1, generation=2), least=0) is None


def test_a_call_that_could_not_tell_drops_what_was_told_before():
    """The newest capture is the one that counts."""
    captures = Captures()
    captures.keep(sandbox(1), number=3, pending=PENDING)
    captures.keep(sandbox(1), number=0, pending=None)

    assert captures.take(sandbox(1), least=0) is None


def test_every_request_tells_the_last_commit():
    """Until the next one; nothing before the first."""
    captures = Captures()
    before = captures.fields(sandbox(1))
    captures.commit(sandbox(1), number=3, key="k", sha256="d")

    assert {"inline": INLINE_BYTES, "published": None} == before
    assert {"number": 3, "key": "k", "sha256": "d"} == captures.fields(sandbox(1))["published"]


def test_sandboxes_used_long_ago_are_forgotten():
    """A worker's memory does not grow with the builds that it ever saw."""
    captures = Captures()
    captures.keep(sandbox(0), number=1, pending=PENDING)
    for number in range(1, MAX_SANDBOXES + 1):
        captures.keep(sandbox(number), number=1, pending=PENDING)

    assert captures.take(sandbox(0), least=0) is None
    assert PENDING == captures.take(sandbox(MAX_SANDBOXES), least=0)
