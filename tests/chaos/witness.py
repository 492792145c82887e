"""What the scripted commands wrote outside every sandbox: which began, what each found and what it left."""

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class State:
    """A workspace as a command saw it."""

    at: int
    """The last unit that is committed."""
    pending: frozenset[str]
    """What git calls changed or new since, as `git status` prints it."""

    @classmethod
    def parse(cls, text: str) -> "State":
        """Read `AT:LINE,LINE,`."""
        at, _, lines = text.partition(":")
        return cls(int(at), frozenset(line for line in lines.split(",") if line))


@dataclass
class Account:
    """Everything that was said of one tool call."""

    starts: list[tuple[str, float]] = field(default_factory=list)
    """Sandbox and time of each."""
    ends: list[tuple[str, float]] = field(default_factory=list)
    found: State | None = None
    left: State | None = None


def read(path: Path) -> dict[str, Account]:
    """Read the witness: tool_use_id → account."""
    told: dict[str, Account] = defaultdict(Account)
    for line in path.read_text().splitlines():
        kind, claim, sandbox, at, *rest = line.split(" ")
        account = told[claim.partition("-")[2]]
        if kind == "start":
            account.starts.append((sandbox, float(at)))
        elif kind == "found":
            account.found = State.parse(rest[0])
        else:
            account.ends.append((sandbox, float(at)))
            account.left = State.parse(rest[0])
    return dict(told)
