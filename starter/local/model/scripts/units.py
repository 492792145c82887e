"""`units units=N slow=MS`: N units of work, a commit each, to the same tree whatever is lost or interrupted.

A unit is a file, a line in a log, and a command that commits both, in one, two or three replies in turn.
Whenever a call failed, was interrupted or undone, it looks where it stands, goes back to the last commit and
on from there. Each command ends at its first failure, and says in the file $LOCAL_WITNESS, which outlives
sandboxes and whose room no sandbox's disk limits, that it began, what it found and what it left.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from starter.local.model.conversation import Call, Conversation
from starter.local.model.scripts.smallest_app import write_by_shell
from starter.local.model.steps import Reply, Script, Text, Use, use

DEFAULT_UNITS = 12
SECONDS = 30
"""What each command asks for."""
_AT = re.compile(r"^at (-?\d+) of \d+$", re.MULTILINE)
_UNKNOWN = re.compile(r"\bsandbox was lost\b|^\[checks\]")
_UNPROVEN = "[checks]"
_MARK = "<!-- next -->"
_EPOCH = 1_700_000_000
_PRELUDE = r"""set -e
say() (
  ulimit -S -f "$(ulimit -H -f)"
  printf '%s %s %s %s %s\n' "$1" "${NIGHTSHIFT_CLAIM##*/}" "$E2B_SANDBOX_ID" "$EPOCHREALTIME" "$2" \
    >>"${LOCAL_WITNESS:-/dev/null}"
)
at() { echo $(( $(git rev-list --count HEAD 2>/dev/null || echo 0) - 1 )); }
state() { echo "$(at):$(git status --porcelain -uall 2>/dev/null | sort | tr ' \n' '_,')"; }
leave() { say end "$(state)"; echo "at $(at) of @units@"; }
commit() {
  git add -A && sleep @slow@ &&
    GIT_AUTHOR_DATE="$2 +0000" GIT_COMMITTER_DATE="$2 +0000" git -c gc.auto=0 -c user.name=Builder \
      -c user.email=builder@example.com commit -q -m "$1"
}
say start; say found "$(state)"
"""
_LOOK = """find .git -name '*.lock' -delete 2>/dev/null || true
if git rev-parse -q --verify HEAD >/dev/null 2>&1; then
  git reset -q --hard
  git clean -fdq
else
  find . -mindepth 1 -delete
fi
leave
"""


@dataclass(frozen=True)
class _Place:
    """Where the work stands."""

    at: int
    """The last unit that is committed; -1: nothing is."""
    since: Sequence[Call] = ()
    """What was done after that."""

    def did(self, name: str) -> bool:
        """Whether a tool was used since."""
        return any(call.name == name for call in self.since)


def play(conversation: Conversation) -> Reply:
    """Do the next part of the next unit, or look first where that is not known."""
    units = conversation.argument("units", DEFAULT_UNITS)
    place = _place(conversation)
    if place is None:
        # A full disk may have room again a little later, and the proofs are counted.
        body = f"sleep 2\n{_LOOK}" if _UNPROVEN in conversation.last_note else _LOOK
        return Reply("look", [Text("Let me see what is there."), _bash(conversation, "look", body)])
    if place.at >= units:
        return Reply("end", [Text(f"All {units} units are committed.")])
    if place.at < 0:
        return Reply("begin", [Text("I begin."), _bash(conversation, "begin", _BEGIN)])
    number = place.at + 1
    return Reply(f"unit{number}", [Text(f"Unit {number}."), *_next(conversation, number, place)])


def _place(conversation: Conversation) -> _Place | None:
    """Read from the results where the work stands; None when something happened that makes it unknown."""
    if conversation.turns == 0:
        return _Place(-1)
    calls = conversation.calls
    told = [place for place, call in enumerate(calls) if call.ok and _AT.search(call.result or "")]
    if not told:
        return None
    last, since = calls[told[-1]], calls[told[-1] + 1 :]
    lost = any(_UNKNOWN.search(text) for turn, text in conversation.notes if turn > last.turn)
    if lost or not all(call.ok for call in since):
        return None
    return _Place(int(_AT.findall(last.result or "")[-1]), since)


def _next(conversation: Conversation, number: int, place: _Place) -> list[Use]:
    """Give what is left of a unit: all of it, or in parts; what is edited is read first."""
    write = use("write_file", path=f"parts/p{number}.txt", content=_part(number))
    edit = use("edit_file", path="LOG.md", old_string=_MARK, new_string=f"unit {number}\n{_MARK}")
    commit = _bash(conversation, f"unit {number}", _commit(number))
    reads = [use("read_file", path="LOG.md"), use("grep", pattern=f"unit {number}", path="LOG.md")]
    left = [] if place.did("write_file") else [write]
    left += [] if place.did("edit_file") else [*reads, edit]
    match number % 3:
        case 0:
            return [*left, commit]
        case 1:
            return left or [commit]
        case _:
            return [write] if write in left else left or [commit]


def _part(number: int) -> str:
    return f"Part {number}.\n" + "".join(f"{number}.{line} {'word ' * 9}\n" for line in range(40))


def _bash(conversation: Conversation, name: str, body: str) -> Use:
    """Make a command; its first line is unique in the conversation, and people read it as its label."""
    units, slow = conversation.argument("units", DEFAULT_UNITS), conversation.argument("slow", 0) / 1000
    prelude = _PRELUDE.replace("@units@", str(units)).replace("@slow@", f"{slow:g}")
    command = f"# {name} try {conversation.turns}\n{prelude}{body}"
    return use("bash", command=command, timeout_seconds=SECONDS)


_BEGIN = f"""{write_by_shell()}
printf '%s\\n' '# Log' '{_MARK}' >LOG.md
printf '%s\\n' '__pycache__/' >.gitignore
git init -q -b main . && commit begin {_EPOCH} && leave
"""


def _commit(number: int) -> str:
    missing = f'[ ! -f parts/p{number}.txt ] || ! grep -qx "unit {number}" LOG.md'
    lines = [
        f'if [ "$(at)" != {number - 1} ] || {missing}; then',
        f"  echo 'Unit {number} is not ready.'; say end \"$(state)\"; exit 3",
        "fi",
        "mkdir -p data done",
        f"seq {number * 5000} {number * 5000 + 40_000} >data/d{number}.txt",
        f"ln -sfn parts/p{number}.txt latest",
        f"chmod {'755' if number % 2 else '644'} parts/p{number}.txt",
    ]
    if number % 3 == 0:
        lines.append(f"git mv parts/p{number - 2}.txt done/")
    if number % 4 == 0:
        lines.append(f"git rm -q data/d{number - 3}.txt")
    return "\n".join([*lines, f"commit 'unit {number}' {_EPOCH + number} && leave\n"])


SCRIPT = Script("units", play)
