"""What a run of the chaos came to, as numbers and as text."""

import datetime as dt
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.results import machine
from tests.chaos.builds import Built
from tests.chaos.kills import Kill
from tests.chaos.money import sandbox_cost
from tests.chaos.recovery import percentile
from workflows.texts import dollars


@dataclass
class Report:
    """Everything that is told; times in seconds."""

    seed: int
    kills: dict[str, int]
    faults: dict[str, int]
    seconds: float
    undisturbed: float
    """What one build takes alone, with nothing killed."""
    passed: int
    failed: int
    files_lost: int
    commands_twice: int
    charges_doubled: int
    calls: int
    calls_undone: int
    calls_interrupted: int
    sandboxes_lost: int
    recovery_p50: float
    recovery_p99: float
    recovery: dict[str, list[float]] = field(repr=False, default_factory=dict)
    """Kind of kill → each time to recover."""
    builds: list[float] = field(repr=False, default_factory=list)
    """How long each build took."""
    date: str = ""
    machine: str = ""
    steered: dict[str, int] = field(default_factory=dict)
    """What people did to running builds, and how often."""
    why_lost: dict[str, int] = field(default_factory=dict)
    """What the model was told of lost sandboxes, and how often."""
    forks: int = 0
    """Builds that went on from another one's restore point."""
    sandbox_microdollars: int = 0
    """What sandbox time cost, over all builds."""

    def write(self, path: Path) -> None:
        """Keep it as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    def text(self) -> str:
        """Tell it; the last line counts the builds."""
        each, alone = percentile(self.builds, 0.5), self.undisturbed
        told = f"undone {self.calls_undone}, interrupted {self.calls_interrupted}, each told"
        lines = [
            f"seed {self.seed}, {self.date}, {self.machine}, {self.seconds:.0f} s",
            f"kills -9: {sum(self.kills.values())} ({_counts(self.kills)})",
            f"faults injected: {sum(self.faults.values())} ({_counts(self.faults)})",
            f"steered: {_counts(self.steered)}",
            f"builds: 1 and {len(self.builds)}, {each:.0f} s each (p50), undisturbed and alone {alone:.0f} s",
            f"forks among them: {self.forks}",
            f"tool calls: {self.calls}, {told}; sandboxes lost {self.sandboxes_lost}",
            *(f"  {number} times: {why}" for why, number in sorted(self.why_lost.items())),
            f"files lost: {self.files_lost}",
            f"commands run twice: {self.commands_twice}",
            f"charges doubled: {self.charges_doubled}",
            f"sandbox time: {dollars(self.sandbox_microdollars)}",
            f"time to recover: p50 {self.recovery_p50:.1f} s, p99 {self.recovery_p99:.1f} s",
        ]
        for kind, values in sorted(self.recovery.items()):
            p50, p99 = percentile(values, 0.5), percentile(values, 0.99)
            lines.append(f"  after a kill of {kind}: p50 {p50:.1f} s, p99 {p99:.1f} s, {len(values)} times")
        return "\n".join([*lines, f"{self.passed} passed, {self.failed} failed"])


def _counts(of: dict[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(of.items()))


def summed_up(builds: Sequence[Built], recoveries: Sequence[tuple[Kill, float]], **rest: object) -> Report:
    """Add everything up; the first build is the undisturbed one."""
    by_kind: dict[str, list[float]] = defaultdict(list)
    for kill, seconds in recoveries:
        by_kind[kill.kind].append(round(seconds, 2))
    every = [seconds for _, seconds in recoveries]
    failed = sum(bool(each.problems) for each in builds)
    findings = [each.findings for each in builds]
    alone, took = builds[0], [round(each.ended - each.started, 1) for each in builds[1:]]
    return Report(
        **rest,
        undisturbed=alone.ended - alone.started,
        passed=len(builds) - failed,
        failed=failed,
        files_lost=sum(each.files_lost for each in findings),
        commands_twice=sum(each.twice for each in findings),
        charges_doubled=sum(each.doubled for each in findings),
        calls_undone=sum(each.undone for each in findings),
        calls_interrupted=sum(each.interrupted for each in findings),
        sandboxes_lost=sum(each.losses for each in findings),
        recovery_p50=percentile(every, 0.5),
        recovery_p99=percentile(every, 0.99),
        recovery=dict(by_kind),
        calls=sum(len(each.rows.calls) for each in builds),
        builds=took,
        why_lost=dict(Counter(reason for each in builds for reason in each.rows.why_lost)),
        forks=sum(bool(each.fork_of) for each in builds),
        sandbox_microdollars=sum(sandbox_cost(each.rows) for each in builds),
        date=dt.datetime.now(dt.UTC).date().isoformat(),
        machine=machine(),
    )


def kills_by_kind(kills: Sequence[Kill]) -> dict[str, int]:
    """Count the kills."""
    return dict(Counter(kill.kind for kill in kills))
