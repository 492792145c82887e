"""The rules of files: each command finds what the calls before it left, less what was told undone."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from tests.chaos.records import CHANGING, ELSEWHERE, Call, Records, Stretch
from tests.chaos.witness import Account, State

EDITED = "_M_LOG.md"
WROTE = re.compile(r"^parts/p\d+\.txt$")
Losses = list[tuple[int, tuple[str, ...]]]


@dataclass
class _Files:
    """The workspace as it must be, followed call by call."""

    told: Mapping[str, Account]
    state: State | None = field(default_factory=lambda: State(-1, frozenset()))
    """None: nobody can know it, until a command says what it found."""
    done: list[tuple[Call, State | None]] = field(default_factory=list)
    """The changing calls of this sandbox that took effect, each with the state before it."""
    lost: int = 0
    """Files that a command did not find as they were left."""


def judge_files(records: Records, told: Mapping[str, Account]) -> tuple[int, list[str]]:
    """Follow the path to the build's head; gives how many files were lost, and each broken rule.

    Where the path branches off the files are those of the restore point: as the calls before it left them.
    What others did there is followed and not judged.
    """
    files, problems, lost = _Files(told), list[str](), 0
    for place, stretch in enumerate(records.stretches):
        is_last = place == len(records.stretches) - 1
        said = list(_judge_stretch(files, stretch, is_last=is_last))
        if stretch.is_own:
            problems += said
            lost += files.lost
        files.lost, files.done = 0, []
    return lost, problems


def _judge_stretch(files: _Files, stretch: Stretch, *, is_last: bool) -> Iterator[str]:
    calls = [call for call in stretch.calls if call.tool in CHANGING and call.answer is not None]
    losses, generation = list(stretch.losses), None
    for place, call in enumerate(calls):
        if generation not in (None, call.generation):
            yield from _lose(files, call, losses)
        _skip(losses, call.turn, needed=_needed(calls[place:], losses))
        generation = call.generation
        yield from _follow(files, call)
    if not is_last:
        for _, undone in losses:
            yield from _take_back(files, undone)
    elif losses and losses[0][0] < (calls[-1].turn if calls else 0):
        yield f"a loss was told that no call shows: {losses[0]}"


def _needed(calls: Sequence[Call], losses: Losses) -> int:
    """Give how many of the losses told by the first call's turn must explain later changes of sandbox.

    Those that were told later may explain them, too, unless they were told after the call.
    """
    turn, changes, needed = calls[0].turn, 0, 0
    for before, after in pairwise(calls):
        changes += before.generation != after.generation
        needed = max(needed, changes - sum(turn < told <= after.turn for told, _ in losses))
    return needed


def _skip(losses: Losses, turn: int, *, needed: int) -> None:
    """Pass over what was told of sandboxes in which no changing call was made: they undid nothing."""
    while sum(told <= turn for told, _ in losses) > needed and not losses[0][1]:
        losses.pop(0)


def _lose(files: _Files, call: Call, losses: Losses) -> Iterator[str]:
    """Take back what was told undone as a sandbox was replaced before this call."""
    if not losses or losses[0][0] > call.turn:
        yield f"{call.label[:60]!r} was made in another sandbox, and the model was not told"
        files.state, files.done = None, []
        return
    _, undone = losses.pop(0)
    yield from _take_back(files, undone)


def _take_back(files: _Files, undone: tuple[str, ...]) -> Iterator[str]:
    state = files.state
    for label in reversed(undone):
        while files.done and _may_be_untold(files.done[-1][0]) and files.done[-1][0].label != label:
            _, state = files.done.pop()
        if not files.done or files.done[-1][0].label != label:
            made = [each.label[:60] for each, _ in files.done]
            yield f"{label[:60]!r} was told undone, and is not among the last calls made: {made}"
            state = None
            break
        _, state = files.done.pop()
    files.state, files.done = state, []


def _follow(files: _Files, call: Call) -> Iterator[str]:
    before, told = files.state, files.told.get(call.tool_use_id, Account())
    if told.found is not None and before is not None and told.found != before and not _is_elsewhere(call):
        missing = before.pending ^ told.found.pending
        files.lost += max(1, len(missing), abs(before.at - told.found.at))
        yield f"{call.label[:40]!r} found {told.found}, where {before} was left"
    if call.is_cut:
        # Begun in a sandbox that is gone it left nothing here; cut short in this one, nobody knows.
        if not _is_elsewhere(call):
            files.done.append((call, before))
            files.state = None
        return
    files.done.append((call, before))
    files.state = _after(call, told, before)


def _may_be_untold(call: Call) -> bool:
    return call.is_cut or call.is_unbegun


def _is_elsewhere(call: Call) -> bool:
    return call.is_cut and str(call.answer).startswith(ELSEWHERE)


def _after(call: Call, told: Account, before: State | None) -> State | None:
    """Give what a call left; a command says so itself, its first word being that it began."""
    if call.tool == "bash":
        return told.left if told.starts else before
    if before is None or call.is_error:
        return before
    if before.at < 0:  # without a repository nobody says what is new
        return None
    path = str(call.input["path"])
    line = f"??_{path}" if WROTE.match(path) else EDITED
    return replace(before, pending=before.pending | {line})
