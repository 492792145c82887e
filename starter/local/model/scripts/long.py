"""`long turns=N`: N turns of one bash call with about 5 KB of output each, then the end.

The count is kept in the workspace and read from the results, so a changed context does not restart it.
"""

import re

from starter.local.model.conversation import Conversation
from starter.local.model.scripts.smallest_app import write_by_shell
from starter.local.model.steps import Reply, Script, Text, Thought, use

DEFAULT_TURNS = 40
_REACHED = re.compile(r"long turn (\d+) of \d+")
_LINE = "the quick brown fox jumps over the lazy dog and rests" + "." * 8
_OUTPUT = f"""python3 -c "for n in range(80): print('%03d' % n, '{_LINE}')\""""


def play(conversation: Conversation) -> Reply:
    """Ask for the next turn until the workspace has counted them all."""
    turns = conversation.argument("turns", DEFAULT_TURNS)
    reached = _reached(conversation)
    if reached >= turns:
        return Reply("end", [Text(f"All {turns} turns are done.")])
    number = reached + 1
    said = [Text(f"Turn {number} of {turns}."), use("bash", command=_command(number, turns))]
    return Reply("turn", [Thought(f"Number {number} comes next."), *said])


def _reached(conversation: Conversation) -> int:
    texts = [conversation.brief, *(call.result or "" for call in conversation.calls)]
    return max((int(number) for text in texts for number in _REACHED.findall(text)), default=0)


def _command(number: int, turns: int) -> str:
    count = 'n=$(( $(cat .turns 2>/dev/null || echo 0) + 1 )); echo "$n" > .turns'
    told = f'echo "long turn $n of {turns}"'
    first = f"{write_by_shell()}\n" if number == 1 else ""
    return f"# turn {number}\n{first}{count}; {told}\n{_OUTPUT}"


SCRIPT = Script("long", play)
