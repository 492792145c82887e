"""The steps of a first build: data model, web app, tests and polish."""

from starter.local.model.conversation import Conversation
from starter.local.model.scripts.theme import Phase, Theme
from starter.local.model.scripts.webapp_preview import PREVIEW_STOP, preview_steps
from starter.local.model.scripts.webapp_state import (
    BUG,
    COMMIT,
    MENDED,
    TESTS,
    TESTS_AGAIN,
    failed,
    has_git,
    present,
    template,
    tests_of,
)
from starter.local.model.steps import Said, Step, Text, Thought, Use, say, use

_GIT = f"git init -q && printf '%s\\n' app.db __pycache__/ > .gitignore && {COMMIT} -qm"
_POLISH = (
    ".tick{flex:none;",
    ":focus-visible{outline:3px solid var(--accent);outline-offset:2px}\n.tick{flex:none;",
)


def new_steps(theme: Theme, phases: tuple[Phase, Phase, Phase]) -> list[Step]:
    """Return all steps of a first build, in order."""
    return [*_data_model(theme, phases[0]), *_web_app(theme, phases[1]), *_polish(theme, phases[2])]


def new_closing(theme: Theme, conversation: Conversation) -> str:
    """Return the report that ends the build."""
    story = f"{theme.title} is ready: mark each {theme.noun} “{theme.done.lower()}”, see streak and week. "
    story += "It starts with `python3 app.py`, keeps all in one SQLite file and needs nothing but Python. "
    if failed(conversation, "tests-5") or (
        failed(conversation, "tests-4") and not conversation.of("tests-5")
    ):
        return f"{story}One test still fails, and I could not mend it."
    found = "one of them found a real mistake on the way (streaks broke on the 1st of a month), now mended."
    return f"{story}All tests pass; {found}" if conversation.of("mend") else f"{story}All tests pass."


def _data_model(theme: Theme, phase: Phase) -> list[Step]:
    opening = f"We begin with the heart of it, tested before there is a page: {theme.plural} and streaks."
    return [
        Step(
            "begin",
            say(
                use("narrate", message=opening, phase_name=phase.name, plan_item=phase.item),
                use("bash", command="python3 --version; git --version; ls -A | head"),
            ),
        ),
        _write(
            "streaks",
            theme,
            "streaks.py",
            "The date arithmetic comes first, on its own, so that it is easy to test.",
        ),
        _write("store", theme, "store.py", f"Next the database: {theme.plural} and one row a check-in."),
        _write(
            "tests",
            theme,
            "tests/test_streaks.py",
            "And tests for both.",
            "tests/__init__.py",
            "tests/test_store.py",
        ),
        Step("tests-1", say(Text("Let us see."), use("bash", command=TESTS))),
        *_mending("tests-1"),
        Step("commit", say(use("bash", command=f'{_GIT} "Streaks and storage, tested"; git log --oneline'))),
        Step(
            "no-git",
            say(
                use(
                    "narrate",
                    message="There is no git in this sandbox; our snapshots keep the history instead.",
                )
            ),
            when=lambda conversation: not has_git(conversation),
        ),
    ]


def _mending(tests: str) -> list[Step]:
    def broken(conversation: Conversation) -> bool:
        return failed(conversation, tests)

    return [
        Step(
            "inspect",
            say(
                Thought(
                    "Day zero of a month does not exist: counting back from the 1st must not replace the day."
                ),
                Text(
                    "One test fails, on the first of a month. Let me look at that function and who calls it."
                ),
                use("read_file", path="streaks.py"),
                use("grep", pattern="day_before", path=".", glob="*.py"),
            ),
            when=broken,
        ),
        Step(
            "mend",
            say(
                Text("`day_before` takes one from the day number: day 0 on the 1st. It must subtract a day."),
                use("edit_file", path="streaks.py", old_string=BUG, new_string=MENDED),
            ),
            when=broken,
        ),
        Step("tests-2", say(use("bash", command=tests_of("test_streaks"))), when=broken),
    ]


def _web_app(theme: Theme, phase: Phase) -> list[Step]:
    opening = (
        f"The streaks hold across months now. On to what you will see: one calm page for all {theme.plural}."
    )
    overview = (
        f"{theme.title}: {theme.tagline} Add a {theme.noun}, tick it off each day, and watch the streak grow."
    )
    return [
        Step(
            "page-phase",
            say(
                use("narrate", message=opening, phase_name=phase.name, plan_item=phase.item),
                use("document", section="overview", content=overview),
            ),
        ),
        _write(
            "page", theme, "index.html", "The page: today's progress on top, the list below, no framework."
        ),
        _write("server", theme, "app.py", "The server: the page and a small JSON API."),
        Step(
            "review",
            say(
                Text("Before testing over HTTP, a look at how the parts meet."),
                use("read_file", path="app.py", offset=14, limit=30),
                use("grep", pattern="self.store\\.", path="app.py", mode="content"),
                use("glob", pattern="tests/*.py"),
            ),
        ),
        _write("app-test", theme, "tests/test_app.py", "Tests that use the app as a browser does."),
        Step("tests-3", say(use("bash", command=TESTS))),
    ]


def _polish(theme: Theme, phase: Phase) -> list[Step]:
    opening = "Everything works in tests. Now we run it for real and look at it with your eyes."
    return [
        *preview_steps(theme, opening=opening, phase=phase),
        Step("polish", _polish_words),
        Step(
            "documents",
            say(
                use("write_file", path="README.md", content=theme.fill(template("README.md"))),
                use("document", section="features", content=_features(theme)),
                use("document", section="getting_started", content=_getting_started(theme)),
                use("document", section="faq", content=_FAQ),
            ),
        ),
        Step("tests-4", _last_words),
        Step(
            "mend-last",
            say(
                Text("That mistake is back, so the file is written again, mended."),
                use("write_file", path="streaks.py", content=template("streaks.py", mended=True)),
            ),
            when=lambda conversation: failed(conversation, "tests-4"),
            done=lambda conversation: any(call.ok for call in conversation.of("mend-last")),
        ),
        Step(
            "tests-5",
            say(use("bash", command=TESTS_AGAIN)),
            when=lambda conversation: failed(conversation, "tests-4"),
        ),
    ]


def _polish_words(conversation: Conversation) -> list[Said]:
    seen = any(call.ok for call in conversation.of("look-at-page"))
    verdict = (
        "It reads well. One thing a mouse does not show: keyboard users cannot see where they are."
        if seen
        else "No picture can be taken here, so I go by the markup: keyboard users cannot see where they are."
    )
    return [
        Text(verdict),
        use("edit_file", path="index.html", old_string=_POLISH[0], new_string=_POLISH[1]),
        use("bash", command=PREVIEW_STOP),
    ]


def _last_words(conversation: Conversation) -> list[Said]:
    commit = f' && {COMMIT} -qm "Page, API and documents"' if has_git(conversation) else ""
    return [Text("All the tests once more, then it is saved."), use("bash", command=f"{TESTS}{commit}")]


def _write(step: str, theme: Theme, path: str, words: str, *others: str) -> Step:
    paths = (path, *others)
    missing = {name: theme.fill(_content(name)) for name in paths}

    def say_missing(conversation: Conversation) -> list[Said]:
        there = present(conversation)
        writes: list[Use] = [
            use("write_file", path=name, content=text) for name, text in missing.items() if name not in there
        ]
        return [Text(words), *writes]

    return Step(step, say_missing, done=lambda conversation: set(paths) <= present(conversation))


def _content(path: str) -> str:
    return "" if path.endswith("__init__.py") else template(path.removeprefix("tests/"))


def _features(theme: Theme) -> str:
    return (
        f"- Add a {theme.noun}, remove it again\n- Mark it “{theme.done.lower()}”; tap again to undo\n"
        "- The current streak, the best one, and the last seven days\n- Today's progress at a glance"
    )


def _getting_started(theme: Theme) -> str:
    return f"Open the page and add your first {theme.noun}, or choose a suggestion. Then tap its circle."


_FAQ = (
    "**Where is my data?** In one file, `app.db`, beside the app.\n\n"
    "**Does a streak break when I forget today?** Not until the day is over."
)
