"""`night chapters=N`: a build whose every step costs, for the demo of sleep; told to, it commits."""

from starter.local.model.conversation import Conversation
from starter.local.model.scripts.smallest_app import APP, CHECK, TEST
from starter.local.model.scripts.webapp_state import COMMIT, has_git
from starter.local.model.steps import Reply, Script, Step, Text, play_steps, say, use

DEFAULT_CHAPTERS = 12
_WINDING_DOWN = "Leave the work running"
_LINES = 400
"""Of a chapter: about 8,000 tokens, so that a step costs about what is set aside for it."""


def play(conversation: Conversation) -> Reply:
    """Write the smallest app and a long handbook, chapter by chapter."""
    chapters = conversation.argument("chapters", DEFAULT_CHAPTERS)
    closing = f"The page and its handbook of {chapters} chapters are done; the checks pass."
    return play_steps(_steps(chapters), conversation, closing=closing)


def _steps(chapters: int) -> list[Step]:
    begin = say(
        Text("First the page and its test."),
        use("write_file", path="app.py", content=APP),
        use("write_file", path="tests/__init__.py", content=""),
        use("write_file", path="tests/test_app.py", content=TEST),
        use("bash", command="git init -q; ls"),
    )
    tidy = Step(
        "tidy",
        say(
            Text("The money of today is nearly spent. I check what there is and commit it, before I sleep."),
            use(
                "bash", command=f'{CHECK} && {COMMIT} -qm "A page and the handbook so far"; git log --oneline'
            ),
        ),
        when=lambda conversation: has_git(conversation) and _is_asked_to_wind_down(conversation),
    )
    check = say(Text("All chapters are there. The checks once more."), use("bash", command=CHECK))
    return [Step("begin", begin), tidy, *(_chapter(n) for n in range(1, chapters + 1)), Step("check", check)]


def _is_asked_to_wind_down(conversation: Conversation) -> bool:
    return any(_WINDING_DOWN in note for _, note in conversation.notes)


def _chapter(number: int) -> Step:
    lines = (
        f"Line {n} of chapter {number}: what a page does when it is asked, and why." for n in range(_LINES)
    )
    content = f"# Chapter {number}\n" + "\n".join(lines) + "\n"
    said = Text(f"Chapter {number} of the handbook.")
    return Step(f"chapter-{number}", say(said, use("write_file", path=f"book/{number}.md", content=content)))


SCRIPT = Script("night", play)
