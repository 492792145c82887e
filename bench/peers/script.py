"""The conversation that every peer plays: N turns of one bash call with 5 KB of output, then the end.

It is the scripted model's `long turns=N`, word for word, without a server. Standard library only.
"""

import asyncio
import json
import os
import re
import time
from collections.abc import Iterable
from pathlib import Path

INSTRUCTIONS = "You build software in a sandbox. Use the tool; when the plan is done, say so."
LINE = "the quick brown fox jumps over the lazy dog and rests" + "." * 8
COMMAND = """# turn {turn}
n=$(( $(cat .turns 2>/dev/null || echo 0) + 1 )); echo "$n" > .turns; echo "long turn $n of {turns}"
python3 -c "for n in range(80): print('%03d' % n, '{line}')\""""
_CALLED = re.compile(r"# turn (\d+)\n.*of (\d+)")
_REACHED = re.compile(r"long turn (\d+) of (\d+)")
_ASKED = re.compile(r"\[\[script:long turns=(\d+)\]\]")


def prompt(turns: int) -> str:
    """What the founder says first."""
    return f"[[script:long turns={turns}]]"


def reached(texts: Iterable[str]) -> tuple[int, int]:
    """The turn that the tool results tell of, and how many there shall be."""
    done, asked = 0, 0
    for text in texts:
        if found := _ASKED.search(text):
            asked = int(found[1])
        if found := _REACHED.match(text):
            done = int(found[1])
    return done, asked


def said(turn: int, turns: int) -> str:
    """The text of a reply."""
    return f"Turn {turn} of {turns}."


def command(turn: int, turns: int) -> str:
    """The input of a turn's tool call."""
    return COMMAND.format(turn=turn, turns=turns, line=LINE)


async def next_turn(texts: Iterable[str]) -> tuple[int, int] | None:
    """Be the model: the turn that comes next and of how many, or None at the end."""
    done, asked = reached(texts)
    await note("model", done + 1)
    return None if done >= asked else (done + 1, asked)


async def run_command(given: str) -> str:
    """Be the tool: what the command would print."""
    found = _CALLED.search(given)
    assert found is not None
    turn = int(found[1])
    await note("tool", turn)
    lines = [f"long turn {turn} of {found[2]}", *(f"{n:03d} {LINE}" for n in range(80))]
    return "\n".join(lines) + "\n"


async def note(kind: str, turn: int) -> None:
    """Append to the log that BENCH_LOG names; at the moment that BENCH_HOLD names, stand still, once."""
    if log := os.environ.get("BENCH_LOG"):
        with Path(log).open("a") as file:  # noqa: ASYNC230 - a line in an open page cache
            file.write(json.dumps({"kind": kind, "turn": turn, "at": time.time()}) + "\n")
    if os.environ.get("BENCH_HOLD") != f"{kind} {turn}":
        return
    held = Path(os.environ["BENCH_HELD"])
    if not held.exists():
        held.touch()
        await asyncio.sleep(3600)
