"""`sleeper turns=N`: a short build, for tests of sleeping and waking."""

from starter.local.model.conversation import Conversation
from starter.local.model.scripts.smallest_app import APP, CHECK, TEST
from starter.local.model.steps import Reply, Script, Step, Text, play_steps, say, use

DEFAULT_TURNS = 6


def play(conversation: Conversation) -> Reply:
    """Write the smallest app, note a line for every turn, check, and end."""
    turns = max(3, conversation.argument("turns", DEFAULT_TURNS))
    return play_steps(_steps(turns), conversation, closing=f"Built in {turns} turns; the checks pass.")


def _steps(turns: int) -> list[Step]:
    write = say(
        Text("First the app and its test."),
        use("narrate", message="We start with one page and one test.", phase_name="Build"),
        use("write_file", path="app.py", content=APP),
        use("write_file", path="tests/__init__.py", content=""),
        use("write_file", path="tests/test_app.py", content=TEST),
    )
    noting = [
        Step(f"note-{n}", say(use("bash", command=f"echo step {n} >> notes.txt"))) for n in range(2, turns)
    ]
    check = say(Text("Now the checks."), use("bash", command=f"{CHECK}; cat notes.txt"))
    return [Step("write", write), *noting, Step("check", check)]


SCRIPT = Script("sleeper", play)
