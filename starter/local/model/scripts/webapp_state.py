"""What the web app's script reads out of a conversation, and the commands and files it uses."""

import re
from functools import cache
from pathlib import Path

from starter.local.model.conversation import Conversation

TESTS = "python3 -m unittest discover -s tests -t . 2>&1"
TESTS_AGAIN = "python3 -m unittest discover -v -s tests -t . 2>&1"
"""Differs from TESTS so that testing, mending and testing is no repetition."""
COMMIT = "git add -A && git -c user.name=Builder -c user.email=builder@example.com commit"
BUG = "    return day.replace(day=day.day - 1)\n"
MENDED = "    return day - timedelta(days=1)\n"

_FILES = Path(__file__).parent / "webapp_files"
_LOSS = re.compile(r"\bundone\b|\bwas lost\b|\brolled back\b|\brestored (?:from|to)\b", re.IGNORECASE)
_FAILURE = re.compile(r"^FAILED|Traceback \(most recent", re.MULTILINE)
_NO_GIT = re.compile(r"git: (?:command )?not found|No such file or directory: 'git'")


@cache
def template(name: str, *, mended: bool = False) -> str:
    """Return the text of a file of the app, its places unfilled."""
    text = (_FILES / f"{name}.txt").read_text(encoding="utf-8")
    return text.replace(BUG, MENDED) if mended else text


def tests_of(module: str) -> str:
    """Return the command that runs one module of tests."""
    return f"python3 -m unittest tests.{module} 2>&1"


def failed(conversation: Conversation, step: str) -> bool:
    """Whether the step's output shows a failing test."""
    return bool(_FAILURE.search(conversation.result(step))) if conversation.of(step) else False


def has_git(conversation: Conversation) -> bool:
    """Whether no command has shown that git is missing."""
    return not any(_NO_GIT.search(call.result or "") for call in conversation.calls if call.name == "bash")


def losses(conversation: Conversation) -> int:
    """Return how often the conversation was told that finished work is gone."""
    return sum(bool(_LOSS.search(text)) for _, text in conversation.notes)


def is_further(conversation: Conversation) -> bool:
    """Whether the first look found an app that is already whole."""
    first = [call for call in conversation.of("look") if call.turn == conversation.of("look")[0].turn]
    found = _listed("\n".join(call.result or "" for call in first))
    return {"streaks.py", "store.py", "app.py", "index.html", "tests/test_app.py"} <= found


def present(conversation: Conversation) -> set[str]:
    """Return the files that the newest look found, and those written since."""
    looks = conversation.of("look")
    found = _listed(conversation.result("look")) if looks else set[str]()
    since = looks[-1].turn if looks else -1
    written = {
        str(call.input.get("path"))
        for call in conversation.calls
        if call.name == "write_file" and call.ok and call.turn > since
    }
    # Without streaks.py it is somebody else's app: everything is written anew.
    return (found if "streaks.py" in found else set[str]()) | written


def _listed(listing: str) -> set[str]:
    paths = {line.strip().removeprefix("./") for line in listing.splitlines()}
    return paths | {re.sub(r"^.*/(?=(?:tests/)?[^/]+$)", "", path) for path in paths}
