"""What must hold of a build that went through all that: each broken rule is a sentence."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tests.chaos.records import CHANGING, Call, Records
from tests.chaos.witness import Account, State

EDITED = "_M_LOG.md"
WROTE = re.compile(r"^parts/p\d+\.txt$")


@dataclass
class Findings:
    """What was found of one build."""

    problems: list[str] = field(default_factory=list)
    twice: int = 0
    """Commands that began more than once."""
    files_lost: int = 0
    """Files that a command did not find as the calls before it had left them."""
    doubled: int = 0
    """Replies that were paid for twice."""
    undone: int = 0
    interrupted: int = 0
    losses: int = 0


def judge(records: Records, told: Mapping[str, Account]) -> Findings:
    """Hold a build against every rule but those of its tree and of what is left over."""
    findings = Findings(losses=len(records.losses))
    findings.interrupted = sum(call.is_cut for call in records.calls)
    findings.undone = sum(len(undone) for _, undone in records.losses)
    for call in records.calls:
        findings.problems += _judge_call(call, told.get(call.tool_use_id, Account()), findings)
    findings.problems += _judge_files(records, told, findings)
    findings.problems += _judge_money(records, findings)
    return findings


def _judge_call(call: Call, told: Account, findings: Findings) -> Iterator[str]:
    """At most one start; one start and one end of what was answered ok; no end after `interrupted`."""
    name = f"{call.tool} {call.tool_use_id}"
    if call.answer is None:
        yield f"{name} has no result"
    if len(told.starts) > 1:
        findings.twice += 1
        yield f"{name} began {len(told.starts)} times: {told.starts}"
    if call.tool != "bash" or call.answer is None:
        return
    if not call.is_error and (len(told.starts), len(told.ends)) != (1, 1):
        yield f"{name} was answered ok, yet has {len(told.starts)} starts and {len(told.ends)} ends"
    late = [at for _, at in (*told.starts, *told.ends) if at > call.at]
    if late and call.is_cut:
        yield f"{name} went on {max(late) - call.at:.2f} s after it was answered interrupted"


@dataclass
class _Files:
    """The workspace as it must be, followed call by call."""

    state: State | None = field(default_factory=lambda: State(-1, frozenset()))
    """None: nobody can know it, until a command says what it found."""
    done: list[tuple[Call, State | None]] = field(default_factory=list)
    """The changing calls of this sandbox that took effect, each with the state before it."""


def _judge_files(records: Records, told: Mapping[str, Account], findings: Findings) -> Iterator[str]:
    """Each command finds what the calls before it left, less exactly those that were told undone."""
    calls = [call for call in records.calls if call.tool in CHANGING and call.answer is not None]
    losses, files, generation = list(records.losses), _Files(), None
    for place, call in enumerate(calls):
        same_turn = [each.generation for each in calls[place:] if each.turn == call.turn]
        to_come = len(set(same_turn)) - 1
        if generation not in (None, call.generation):
            yield from _lose(files, call, losses)
        _skip(losses, call.turn, to_come)
        generation = call.generation
        yield from _follow(files, call, told.get(call.tool_use_id, Account()), findings)
    if len(losses) > 0 and losses[0][0] < (calls[-1].turn if calls else 0):
        yield f"a loss was told that no call shows: {losses[0]}"


def _skip(losses: list[tuple[int, tuple[str, ...]]], turn: int, to_come: int) -> None:
    """Pass over what was told of sandboxes in which no changing call was made: they undid nothing."""
    while sum(told <= turn for told, _ in losses) > to_come and not losses[0][1]:
        losses.pop(0)


def _lose(files: _Files, call: Call, losses: list[tuple[int, tuple[str, ...]]]) -> Iterator[str]:
    """Take back what was told undone as a sandbox was replaced before this call."""
    if not losses or losses[0][0] > call.turn:
        yield f"{call.label[:60]!r} was made in another sandbox, and the model was not told"
        files.state, files.done = None, []
        return
    _, undone = losses.pop(0)
    state = files.state
    for label in reversed(undone):
        while files.done and files.done[-1][0].is_cut and files.done[-1][0].label != label:
            _, state = files.done.pop()
        if not files.done or files.done[-1][0].label != label:
            made = [each.label[:60] for each, _ in files.done]
            yield f"{label[:60]!r} was told undone, and is not among the last calls made: {made}"
            state = None
            break
        _, state = files.done.pop()
    files.state, files.done = state, []


def _follow(files: _Files, call: Call, told: Account, findings: Findings) -> Iterator[str]:
    before = files.state
    if told.found is not None and before is not None and told.found != before and not _is_elsewhere(call):
        missing = (before.pending - told.found.pending) | (told.found.pending - before.pending)
        findings.files_lost += max(1, len(missing), abs(before.at - told.found.at))
        yield f"{call.label[:40]!r} found {told.found}, where {before} was left"
    if call.is_cut:
        # Begun in a sandbox that is gone it left nothing here; cut short in this one, nobody knows.
        if not _is_elsewhere(call):
            files.done.append((call, before))
            files.state = None
        return
    files.done.append((call, before))
    files.state = told.left if call.tool == "bash" else _after_file(call, before)


def _is_elsewhere(call: Call) -> bool:
    return call.is_cut and str(call.answer).startswith("Interrupted:")


def _after_file(call: Call, before: State | None) -> State | None:
    if before is None or call.is_error:
        return before
    path = str(call.input["path"])
    line = f"??_{path}" if WROTE.match(path) else EDITED
    return replace(before, pending=before.pending | {line})


def _judge_money(records: Records, findings: Findings) -> Iterator[str]:
    """Nothing is open, each reply was bought once, and the build's sum is that of its rows."""
    states = Counter(row.state for row in records.ledger)
    if states["reserved"]:
        yield f"{states['reserved']} reservations are open"
    settled = [row for row in records.ledger if (row.kind, row.state) == ("model", "settled")]
    messages, replies = {row.message_id for row in settled}, {row.reply_id for row in settled}
    findings.doubled += len(settled) - len(messages)
    if not len(settled) == len(messages) == len(replies) == records.replies:
        yield f"{records.replies} replies, bought in {len(settled)} settled rows for {len(messages)} messages"
    spent = sum(row.cost for row in records.ledger if row.state in ("settled", "lost"))
    if records.build.spent != spent:
        yield f"the build's row says {records.build.spent} were spent, its ledger {spent}"


def judge_requests(records: Records, journal: Sequence[Mapping]) -> Iterator[str]:
    """No conversation was sent again once its reply had been settled."""
    digests = [json.dumps(entry["digests"]) for entry in journal]
    sent = {entry["request_id"]: place for place, entry in enumerate(journal)}
    last = {digest: place for place, digest in enumerate(digests)}
    for row in records.ledger:
        if (row.kind, row.state) != ("model", "settled"):
            continue
        if row.request_id not in sent:
            yield f"reply {row.reply_id} was settled; the provider knows no request {row.request_id!r}"
            continue
        place = sent[row.request_id]
        if last[digests[place]] > place:
            yield f"reply {row.reply_id} was bought by request {place} and again by {last[digests[place]]}"
