"""The steps of a further build: take stock, add the next badge test-first, polish."""

import re

from starter.local.model.conversation import Conversation
from starter.local.model.scripts.theme import Phase, Theme, theme_of
from starter.local.model.scripts.webapp_preview import PREVIEW_STOP, preview_steps
from starter.local.model.scripts.webapp_state import (
    COMMIT,
    TESTS,
    TESTS_AGAIN,
    failed,
    has_git,
    present,
    template,
    tests_of,
)
from starter.local.model.steps import Said, Step, Text, Thought, Words, say, use

_NAMES = {
    7: "a full week",
    14: "two weeks",
    30: "a month",
    60: "two months",
    100: "a hundred days",
    365: "a year",
}
_MILESTONE = re.compile(r'\((\d+), "([^"]+)"\)')
_CLASS = "class MilestoneTest(unittest.TestCase):\n"
_LIST_END = "]  # the next milestone goes here\n"
_BEST = '"best": best_streak(days)}'
_SMALL = 'node("small", {}, text)'


def further_steps(conversation: Conversation) -> list[Step]:
    """Return all steps of a further build, in order."""
    theme = theme_of(conversation.brief)
    days, name = _next_milestone(conversation)
    opening = "The badge is in. Now we run the app and look at it."
    return [
        *_take_stock(),
        *_badge(days, name, first=_last_milestone(conversation) is None),
        *preview_steps(theme, opening=opening, phase=Phase("Tests and polish")),
        Step("stop", say(Text("It runs as before, with the badge."), use("bash", command=PREVIEW_STOP))),
        Step("documents", say(use("document", section="features", content=_feature(theme, days, name)))),
        Step(
            "readme",
            say(
                use(
                    "bash",
                    command=f"echo '- Badge after {days} days: {name}.' >> README.md; tail -3 README.md",
                )
            ),
        ),
        Step("tests-last", lambda so_far: _last_words(so_far, name)),
    ]


def further_closing(theme: Theme, conversation: Conversation) -> str:
    """Return the report that ends the build."""
    story = f"{theme.title} now rewards one more milestone with a badge; its test was written first. "
    return story + ("One test still fails." if failed(conversation, "tests-last") else "All tests pass.")


def _take_stock() -> list[Step]:
    opening = (
        "We build on what is there. First I read it and run its tests, so that nothing that works gets lost."
    )
    return [
        Step(
            "stock",
            lambda conversation: [
                Thought("I must know the present code before I add to it."),
                use("narrate", message=opening, phase_name="Take stock"),
                *(use("read_file", path=path) for path in ("streaks.py", "store.py")),
                *(use("read_file", path=path) for path in _badge_files(conversation)),
                use("grep", pattern="streak", path=".", glob="*.html", mode="content"),
            ],
        ),
        Step("stock-tests", say(Text("Do its tests still pass?"), use("bash", command=TESTS))),
        Step(
            "stock-mend",
            say(use("write_file", path="streaks.py", content=template("streaks.py", mended=True))),
            when=lambda conversation: failed(conversation, "stock-tests"),
        ),
        Step("history", say(use("bash", command="git log --oneline | head -5")), when=has_git),
    ]


def _badge_files(conversation: Conversation) -> list[str]:
    return [path for path in ("milestones.py", "tests/test_milestones.py") if path in present(conversation)]


def _badge(days: int, name: str, *, first: bool) -> list[Step]:
    opening = f"Next, something to look forward to: a badge after {days} days in a row."
    test = f"    def test_{days}_days_earn_{name.replace(' ', '_')}(self):\n"
    test += f"        self.assertNotEqual({name!r}, badge({days - 1}))\n"
    test += f"        self.assertEqual({name!r}, badge({days}))\n"
    return [
        Step(
            "badge", say(Text("The test comes first."), use("narrate", message=opening, phase_name="Badges"))
        ),
        Step("badge-test", _new_test(test) if first else _edit_test(test)),
        Step("badge-red", say(Text("It must fail now."), use("bash", command=tests_of("test_milestones")))),
        Step(
            "badge-find",
            say(
                Text("As expected: the badge does not exist yet."),
                use("grep", pattern="best_streak|badge", path=".", glob="*.py"),
                use("glob", pattern="*.py"),
            ),
            when=lambda conversation: failed(conversation, "badge-red"),
        ),
        Step("badge-code", _new_code(days, name) if first else _edit_code(days, name)),
        Step("badge-green", say(use("bash", command=tests_of("test_milestones")))),
        *(_wire_in() if first else []),
    ]


def _new_test(test: str) -> Words:
    content = f"import unittest\n\nfrom milestones import badge\n\n\n{_CLASS}{test}"
    return say(use("write_file", path="tests/test_milestones.py", content=content))


def _edit_test(test: str) -> Words:
    return say(
        use("edit_file", path="tests/test_milestones.py", old_string=_CLASS, new_string=f"{_CLASS}{test}\n")
    )


def _new_code(days: int, name: str) -> Words:
    content = (
        '"""Badges for long streaks."""\n\nMILESTONES = [\n'
        f'    ({days}, "{name}"),\n{_LIST_END}\n\n'
        "def badge(streak):\n"
        '    """The name of the highest milestone reached, or None."""\n'
        "    reached = [name for days, name in MILESTONES if streak >= days]\n"
        "    return reached[-1] if reached else None\n"
    )
    return say(use("write_file", path="milestones.py", content=content))


def _edit_code(days: int, name: str) -> Words:
    line = f'    ({days}, "{name}"),\n'
    return say(use("edit_file", path="milestones.py", old_string=_LIST_END, new_string=f"{line}{_LIST_END}"))


def _wire_in() -> list[Step]:
    imports = "from streaks import best_streak, current_streak\n"
    shown = _BEST.replace("}", ', "badge": badge(current_streak(days, today))}')
    small = _SMALL.replace("text)", "item.badge ? `${text} · ★ ${item.badge}` : text)")
    store = "store.py"
    return [
        Step(
            "wire",
            say(
                Text("Now the list carries it, and the page shows it."),
                use(
                    "edit_file",
                    path=store,
                    old_string=imports,
                    new_string=f"from milestones import badge\n{imports}",
                ),
                use("edit_file", path=store, old_string=_BEST, new_string=shown),
            ),
        ),
        Step(
            "find-page",
            say(use("grep", pattern="small", path="index.html"), use("read_file", path="index.html")),
        ),
        Step("show", say(use("edit_file", path="index.html", old_string=_SMALL, new_string=small))),
        Step("wire-tests", say(use("bash", command=TESTS_AGAIN))),
    ]


def _last_milestone(conversation: Conversation) -> int | None:
    found = _MILESTONE.findall(conversation.result("stock")) if conversation.of("stock") else []
    return int(found[-1][0]) if found else None


def _next_milestone(conversation: Conversation) -> tuple[int, str]:
    last = _last_milestone(conversation) or 0
    days = next((days for days in _NAMES if days > last), last + 100)
    return days, _NAMES.get(days, f"{days} days")


def _feature(theme: Theme, days: int, name: str) -> str:
    return f"- Streaks for every {theme.noun} and the last seven days\n- A badge after {days} days: {name}"


def _last_words(conversation: Conversation, name: str) -> list[Said]:
    commit = f' && {COMMIT} -qm "A badge for {name}"' if has_git(conversation) else ""
    return [Text("All the tests once more, then it is saved."), use("bash", command=f"{TESTS}{commit}")]
