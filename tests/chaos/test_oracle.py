"""The oracle of the chaos sees each thing that may not happen, and nothing else."""

from types import SimpleNamespace

import pytest

from tests.chaos.money import judge_requests
from tests.chaos.oracle import judge
from tests.chaos.records import CUT, Call, Records, Stretch, undone_in
from tests.chaos.witness import Account, State
from workflows.texts import told_of_late, told_of_loss

WRITE, EDIT = "??_parts/p1.txt", "_M_LOG.md"


def bash(name: str, turn: int, *, generation: int = 1, answer: str = "at 0 of 2", at: float = 10.0) -> Call:
    is_error = not answer.startswith("at ")
    return Call(name, "bash", {"command": f"# {name}"}, turn, answer, is_error, generation, at)


def write(turn: int, *, generation: int = 1) -> Call:
    return Call("w", "write_file", {"path": "parts/p1.txt"}, turn, "Written.", False, generation, 10.0)


def seen(found: str, left: str | None, *, end: float = 9.0) -> Account:
    ends = [] if left is None else [("sbx", end)]
    return Account([("sbx", 8.0)], ends, State.parse(found), State.parse(left) if left else None)


def records(*calls: Call, losses: list[tuple[int, tuple[str, ...]]] | None = None) -> Records:
    return path(Stretch(list(calls), losses or []))


def path(*stretches: Stretch) -> Records:
    model = {"kind": "model", "state": "settled", "message_id": 1, "reply_id": 2, "request_id": "r"}
    money = SimpleNamespace(**model, cost=5, is_own=True, microseconds=0)
    own = [call for stretch in stretches if stretch.is_own for call in stretch.calls]
    build = SimpleNamespace(spent=5, inherited=0)
    return Records(own, list(stretches), replies=1, ledger=[money], build=build)


SOUND = (bash("a", 1), write(2), bash("b", 3, answer="at 1 of 2"))
TOLD = {"a": seen("-1:", "0:"), "b": seen(f"0:{WRITE}", "1:")}


def test_a_sound_build_has_no_problem():
    """Each command found what the calls before it had left."""
    assert [] == judge(records(*SOUND), TOLD).problems


def test_a_command_that_began_twice():
    """Over all sandboxes a call begins once."""
    twice = Account([("one", 1.0), ("two", 2.0)], [("two", 3.0)], TOLD["b"].found, TOLD["b"].left)
    found = judge(records(*SOUND), {**TOLD, "b": twice})

    assert 1 == found.twice
    assert "began 2 times" in found.problems[0]


def test_a_command_answered_ok_that_nobody_saw():
    """A result without its command is made up."""
    assert "0 starts" in judge(records(*SOUND), {"a": TOLD["a"]}).problems[0]


@pytest.mark.parametrize(("end", "problems"), [(9.0, 0), (11.0, 1)])
def test_an_end_after_the_answer_interrupted(end: float, problems: int):
    """What was answered interrupted is over; it may have ended before."""
    cut = bash("b", 2, answer=f"{CUT[1]}; look.")
    told = {"a": TOLD["a"], "b": seen("0:", "1:", end=end)}

    assert problems == len(judge(records(bash("a", 1), cut), told).problems)


def test_a_file_that_is_gone():
    """A file that was written and not undone is there."""
    found = judge(records(*SOUND), {**TOLD, "b": seen("0:", "1:")})

    assert 1 == found.files_lost
    assert "where State(at=0" in found.problems[0]


@pytest.mark.parametrize(
    ("failed", "found", "problems"),
    [(None, "0:", 0), (None, "1:", 1), (seen("0:", None), "1:", 0), (seen("0:", f"0:{WRITE}"), "0:", 1)],
)
def test_a_command_that_failed_on_a_full_disk(failed: Account | None, found: str, problems: int):
    """One that did not begin changed nothing, one that said what it left left that, else nobody knows."""
    calls = bash("a", 1), bash("full", 2, answer="Exit code 153"), bash("b", 3)
    told = {"a": TOLD["a"], "b": seen(found, "1:"), **({"full": failed} if failed else {})}

    assert problems == len(judge(records(*calls), told).problems)


def test_a_command_that_ran_and_is_said_not_to_have_begun():
    """An answer that nothing was done is held against the witness."""
    kept = records(bash("a", 1), bash("b", 2, answer="Not run: the founder interrupted."))

    assert "began, and was answered" in judge(kept, TOLD).problems[0]


LOST = (bash("a", 1), write(2), bash("b", 3, generation=2))


@pytest.mark.parametrize(
    ("undone", "found", "problems"),
    [
        (("write_file: parts/p1.txt",), "0:", 0),
        ((), f"0:{WRITE}", 0),
        ((), "0:", 1),
        (("write_file: parts/p1.txt",), f"0:{WRITE}", 1),
        (("bash: # a", "write_file: parts/p1.txt"), "-1:", 0),
        (("bash: # a",), "0:", 1),
    ],
)
def test_exactly_what_is_gone_is_told_undone(undone: tuple[str, ...], found: str, problems: int):
    """After a loss the next command finds all calls but the undone ones, and these are the last made."""
    told = {"a": TOLD["a"], "b": seen(found, "0:")}

    assert problems == len(judge(records(*LOST, losses=[(3, undone)]), told).problems)


@pytest.mark.parametrize(
    ("lost", "undone"),
    [
        ([("a", "b")], [("a", "b", "late")]),
        ([()], [("late",)]),
        ([("a",), ()], [("a", "late"), ()]),
    ],
)
def test_a_call_that_ended_unheard_belongs_to_the_sandbox_it_was_made_in(lost: list, undone: list):
    """What the model is told of it counts with what it was told of that sandbox."""
    said = [*(told_of_loss("gone", calls, ("server",)) for calls in lost), told_of_late("late")]

    assert undone == undone_in(said) == undone_in(["\n".join(said)])


@pytest.mark.parametrize("found", ["-1:", f"-1:{WRITE}"])
def test_a_file_that_is_written_where_nothing_is_begun(found: str):
    """In a sandbox that came back empty there is no git that would show it."""
    calls = bash("a", 1), Call("w", "write_file", {"path": "parts/p1.txt"}, 2, "Written.", False, 2, 10.0)
    told = {"a": TOLD["a"], "b": seen(found, "-1:")}
    kept = records(*calls, bash("b", 3, generation=2), losses=[(2, ("bash: # a",))])

    assert [] == judge(kept, told).problems


def test_a_sandbox_lost_before_its_first_call_undid_nothing():
    """Its word to the model is passed over, and the next loss is held against its own."""
    told = {"a": TOLD["a"], "b": seen("0:", "0:")}
    losses = [(1, ()), (3, ("write_file: parts/p1.txt",))]

    assert [] == judge(records(*LOST, losses=losses), told).problems


@pytest.mark.parametrize("told_after", [1, 2])
def test_a_sandbox_lost_after_all_was_saved(told_after: int):
    """As after a pause: it undid nothing, and is told before or after the next turn."""
    calls = bash("a", 1), bash("b", 2, generation=2)
    told = {"a": TOLD["a"], "b": seen("0:", "0:")}

    assert [] == judge(records(*calls, losses=[(told_after, ())]), told).problems


def test_of_two_sandboxes_lost_one_after_another_each_is_told():
    """One word is not enough for two."""
    calls = bash("a", 1), bash("b", 2, generation=2), bash("c", 2, generation=3)
    told = {"a": TOLD["a"], "b": seen("0:", "0:"), "c": seen("0:", "0:")}
    judged = [
        len(judge(records(*calls, losses=[(each, ()) for each in turns]), told).problems)
        for turns in ((1, 2), (2, 2), (1,), (2,))
    ]

    assert [0, 0, 1, 1] == judged


def test_a_loss_that_the_model_was_not_told():
    """No sandbox is replaced in silence."""
    told = {"a": TOLD["a"], "b": seen(f"0:{WRITE}", "0:")}

    assert "the model was not told" in judge(records(*LOST), told).problems[0]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"state": "reserved"}, "are open"),
        ({"cost": 6}, "ledger"),
        ({"message_id": 1, "reply_id": 3}, "2 settled rows"),
    ],
)
def test_money_that_does_not_balance(row: dict, said: str):
    """Nothing open, each reply bought once, the sums equal."""
    kept = records(*SOUND)
    second = {
        "kind": "model",
        "state": "settled",
        "message_id": 1,
        "reply_id": 3,
        "cost": 0,
        "request_id": "s",
        "is_own": True,
        **row,
    }
    kept.ledger.append(SimpleNamespace(**second))

    assert any(said in problem for problem in judge(kept, TOLD).problems)


@pytest.mark.parametrize(
    ("at", "state", "problems"),
    [(10.2, "lost", 0), (11.0, "lost", 1), (9.9, "lost", 1), (10.2, "released", 1)],
)
def test_a_conversation_that_is_sent_again(at: float, state: str, problems: int):
    """Only by a worker that went on just then, and where its cost is known."""
    kept = records(*SOUND)
    late = {"kind": "model", "state": state, "message_id": 1, "reply_id": None, "request_id": None}
    kept.ledger.append(SimpleNamespace(**late))
    journal = [{"request_id": name, "digests": ["x"], "at": when} for name, when in (("r", 9.0), ("s", at))]

    assert problems == len(list(judge_requests(kept, journal, [10.0])))
