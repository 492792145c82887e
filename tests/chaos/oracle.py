"""What must hold of a build that went through all that: each broken rule is a sentence."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tests.chaos.charges import Charges, judge_time
from tests.chaos.files import judge_files
from tests.chaos.money import doubled, judge_money
from tests.chaos.records import Call, Records
from tests.chaos.witness import Account


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


def judge(records: Records, told: Mapping[str, Account], charges: Charges | None = None) -> Findings:
    """Hold a build against every rule but those of its tree and of what is left over."""
    findings = Findings(losses=len(records.losses), doubled=doubled(records))
    findings.interrupted = sum(call.is_cut for call in records.calls)
    findings.undone = sum(len(undone) for _, undone in records.losses)
    for call in records.calls:
        findings.problems += _judge_call(call, told.get(call.tool_use_id, Account()), findings)
    findings.files_lost, problems = judge_files(records, told)
    findings.problems += [*problems, *judge_money(records)]
    if charges is not None:
        findings.problems += judge_time(charges, sum(row.microseconds for row in records.ledger))
    return findings


def _judge_call(call: Call, told: Account, findings: Findings) -> Iterator[str]:
    """At most one start; one start and one end of what was answered ok; no end after `interrupted`."""
    name = f"{call.tool} {call.tool_use_id}"
    if len(told.starts) > 1:
        findings.twice += 1
        yield f"{name} began {len(told.starts)} times: {told.starts}"
    if call.answer is None:
        # A reply that came as its build went back is never acted on.
        if not call.is_left or told.starts:
            yield f"{name} has no result"
        return
    if call.is_unbegun and told.starts:
        yield f"{name} began, and was answered: {call.answer[:80]}"
    if call.tool == "bash":
        yield from _judge_command(name, call, told)


def _judge_command(name: str, call: Call, told: Account) -> Iterator[str]:
    if not call.is_error and (len(told.starts), len(told.ends)) != (1, 1):
        yield f"{name} was answered ok, yet has {len(told.starts)} starts and {len(told.ends)} ends"
    late = [at for _, at in (*told.starts, *told.ends) if at > call.at]
    if late and call.is_cut:
        yield f"{name} went on {max(late) - call.at:.2f} s after it was answered interrupted"
