"""`long turns=N told=M slow=S sleep=S`: N turns with about 5 KB of output each, then the end.

Each turn is one bash call, or, after each of those, M turns that only tell the founder something, which are
short and need no sandbox. With `slow` the commands ask for S seconds; with `sleep` the first takes so long.
The count is kept in the workspace and read from the results, so a changed context does not restart it.
"""

import re

from starter.local.model.conversation import Conversation
from starter.local.model.scripts.smallest_app import write_by_shell
from starter.local.model.steps import Reply, Script, Text, Thought, Use, use

DEFAULT_TURNS = 40
_REACHED = re.compile(r"long turn (\d+) of \d+")
_LINE = "the quick brown fox jumps over the lazy dog and rests" + "." * 8
_OUTPUT = f"""python3 -c "for n in range(80): print('%03d' % n, '{_LINE}')\""""
_WORDS = 12
"""Lines of a telling."""


def play(conversation: Conversation) -> Reply:
    """Ask for the next turn until all are counted."""
    turns = conversation.argument("turns", DEFAULT_TURNS)
    reached = _reached(conversation)
    if reached >= turns:
        return Reply("end", [Text(f"All {turns} turns are done.")])
    number = reached + 1
    said = [Text(f"Turn {number} of {turns}."), _call(conversation, number, turns)]
    return Reply("turn", [Thought(f"Number {number} comes next."), *said])


def _reached(conversation: Conversation) -> int:
    """Return the last turn that was counted: in a result, in words that were told, or in the brief."""
    told = [str(call.input.get("message")) for call in conversation.calls if call.ok]
    texts = [conversation.brief, *told, *(call.result or "" for call in conversation.calls)]
    return max((int(number) for text in texts for number in _REACHED.findall(text)), default=0)


def _call(conversation: Conversation, number: int, turns: int) -> Use:
    told = conversation.argument("told", 0)
    if (number - 1) % (told + 1):
        return use("narrate", message=f"long turn {number} of {turns}\n" + f"{_LINE}\n" * _WORDS)
    slow = conversation.argument("slow", 0)
    asked = {"timeout_seconds": slow} if slow else {}
    command = _command(number, turns, step=told + 1)
    sleep = conversation.argument("sleep", 0) if number == 1 else 0
    return use("bash", command=f"{command}\nsleep {sleep}" if sleep else command, **asked)


def _command(number: int, turns: int, *, step: int) -> str:
    count = f'n=$(( $(cat .turns 2>/dev/null || echo {1 - step}) + {step} )); echo "$n" > .turns'
    told = f'echo "long turn $n of {turns}"'
    first = f"{write_by_shell()}\n" if number == 1 else ""
    return f"# turn {number}\n{first}{count}; {told}\n{_OUTPUT}"


SCRIPT = Script("long", play)
