"""The oracle follows a build that was taken back, or that goes on from another one, along its path."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from tests.chaos.oracle import judge
from tests.chaos.records import Call, Stretch, _stretches
from tests.chaos.test_oracle import TOLD, WRITE, bash, path, records, seen, write
from tests.chaos.witness import Account

LOSS = "[sandbox] The sandbox was lost ({}). Your files are back.\nThese finished calls were undone:\n- {}"


def test_the_files_after_going_back_are_those_of_the_restore_point():
    """What was done on the branch that was left is not there, and is not missed."""
    back = path(Stretch([bash("a", 1)]), Stretch([bash("c", 2, generation=2)]))

    assert [] == judge(back, {"a": TOLD["a"], "c": seen("0:", "0:")}).problems


def test_files_of_a_branch_that_was_left_behind():
    """What was undone by going back may not be there."""
    back = path(Stretch([bash("a", 1)]), Stretch([bash("c", 2, generation=2)]))
    found = judge(back, {"a": TOLD["a"], "c": seen(f"0:{WRITE}", "0:")})

    assert 1 == found.files_lost


@pytest.mark.parametrize(("found", "problems"), [("0:", 0), (f"0:{WRITE}", 1)])
def test_a_loss_before_the_restore_point_is_part_of_it(found: str, problems: int):
    """What the first message of a branch tells undone is not in its files."""
    first = Stretch([bash("a", 1), write(2)], [(2, ("write_file: parts/p1.txt",))])
    back = path(first, Stretch([bash("c", 3, generation=3)]))

    assert problems == len(judge(back, {"a": TOLD["a"], "c": seen(found, "0:")}).problems)


def test_nothing_from_before_the_restore_point_can_be_undone_after_it():
    """A loss after going back undoes calls of the new branch only."""
    after = Stretch([bash("c", 3, generation=2), bash("d", 4, generation=3)], [(4, ("bash: # a",))])
    told = {"a": TOLD["a"], "c": seen("0:", "0:"), "d": seen("0:", "0:")}

    assert "is not among" in judge(path(Stretch([bash("a", 1)]), after), told).problems[0]


def test_what_another_build_did_is_followed_and_not_judged():
    """A fork begins with the state that its parent had; the parent's own troubles are not its."""
    parent = Stretch([bash("a", 1), bash("b", 2)], is_own=False)
    told = {"a": TOLD["a"], "b": seen(f"0:{WRITE}", "1:"), "c": seen("0:", "0:")}
    found = judge(path(parent, Stretch([bash("c", 3)])), told)

    assert 1 == len(found.problems)
    assert "'bash: # c' found" in found.problems[0]


@pytest.mark.parametrize(("begun", "problems"), [({}, 0), ({"z": seen("0:", None)}, 1)])
def test_a_call_of_a_reply_that_was_left_behind(begun: dict[str, Account], problems: int):
    """It needs no result where it never began."""
    kept = records(bash("a", 1))
    kept.calls.append(Call("z", "bash", {"command": "# z"}, 2, None, False, 0, 0.0, is_left=True))

    assert problems == len(judge(kept, {"a": TOLD["a"], **begun}).problems)


def test_money_of_another_build():
    """A fork's ledger holds its own purchases, and its row what others had paid."""
    kept = records(bash("a", 1))
    kept.ledger[0].is_own = False
    kept.inherited = 7

    first, second = judge(kept, {"a": TOLD["a"]}).problems
    assert "of another build" in first
    assert "the ledgers of others 7" in second


def row(name: int, role: str, *blocks: dict[str, Any], is_own: bool = True) -> SimpleNamespace:
    body = json.dumps(list(blocks))
    return SimpleNamespace(id=name, role=role, body=body, is_own=is_own, is_on_path=True)


def said(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def test_the_path_is_cut_where_it_branches_off():
    """The first message of a branch belongs to what was before it, each loss of a note told apart."""
    use = {"type": "tool_use", "id": "t", "name": "bash", "input": {"command": "x"}}
    note = "\n".join([LOSS.format("gone", "bash: x"), LOSS.format("again", "bash: y")])
    first, second = _stretches(
        [
            row(1, "user", said("Build it.")),
            row(2, "assistant", use, is_own=False),
            row(3, "user", said(note), said("[fork] From here on.")),
            row(4, "assistant", use),
        ],
        {},
    )

    assert [(1, ("bash: x",)), (1, ("bash: y",))] == first.losses
    assert [(False, [1]), (True, [2])] == [
        (stretch.is_own, [call.turn for call in stretch.calls]) for stretch in (first, second)
    ]
