"""`webapp`: builds a small, real web app around the idea in the brief, or takes one it finds a step further.

Everything depends on what the tools said: a failing test is read and mended, a missing git is worked around,
lost files are written again.
"""

import re
from dataclasses import replace

from starter.local.model.conversation import Conversation
from starter.local.model.scripts.theme import phases_of, theme_of
from starter.local.model.scripts.webapp_further import further_closing, further_steps
from starter.local.model.scripts.webapp_new import new_closing, new_steps
from starter.local.model.scripts.webapp_state import (
    COMMIT,
    TESTS,
    TESTS_AGAIN,
    failed,
    has_git,
    is_further,
    losses,
    template,
)
from starter.local.model.steps import Reply, Script, Step, Text, Thought, play_steps, say, use

_WINDING_DOWN = re.compile(r"allowance|wind(?:ing)? down", re.IGNORECASE)
_MUST_READ = re.compile(r"\bread\b", re.IGNORECASE)


def play(conversation: Conversation) -> Reply:
    """Return the next step of the build, or of mending it after the checks failed."""
    theme = theme_of(conversation.brief)
    if conversation.rounds:
        closing = "I ran the checks again and this is where they stand; the app starts with `python3 app.py`."
        reply = play_steps([_REREAD, *_recheck(conversation.rounds)], conversation, closing=closing)
    elif is_further(conversation):
        reply = play_steps(
            [*_REACTIONS, *further_steps(conversation)],
            conversation,
            closing=further_closing(theme, conversation),
        )
    else:
        reply = play_steps(
            [*_REACTIONS, *new_steps(theme, phases_of(conversation.brief))],
            conversation,
            closing=new_closing(theme, conversation),
        )
    return _acknowledging(conversation, reply)


def _acknowledging(conversation: Conversation, reply: Reply) -> Reply:
    note = " ".join(conversation.last_note.split())
    return replace(reply, said=[Text(f"Noted: {note[:120]}"), *reply.said]) if note else reply


def _look(conversation: Conversation) -> bool:
    return conversation.attempts("look") > losses(conversation)


def _unread(conversation: Conversation) -> list[str]:
    return [
        str(call.input.get("path"))
        for call in conversation.last_calls
        if call.is_error and call.name in ("write_file", "edit_file") and _MUST_READ.search(call.result or "")
    ]


def _warnings(conversation: Conversation) -> int:
    return sum(bool(_WINDING_DOWN.search(text)) for _, text in conversation.notes)


_LOOK = Step(
    "look",
    say(
        Thought("Before anything is written I want to know what is here already."),
        Text("Let me see what the workspace holds."),
        use("glob", pattern="**/*.py"),
        use("glob", pattern="*.html"),
        use("grep", pattern="^def |^class ", mode="files"),
    ),
    done=_look,
    attempts=9,
)
_REREAD = Step(
    "reread",
    lambda conversation: [
        Text("That file has to be read before it is changed."),
        *(use("read_file", path=path) for path in dict.fromkeys(_unread(conversation))),
    ],
    when=lambda conversation: bool(_unread(conversation)),
    done=lambda _: False,
    attempts=6,
)
_SAVE = Step(
    "save",
    say(
        Text("Today's allowance runs low, so what works is committed now."),
        use("bash", command=f'{COMMIT} -qm "Save the work so far"; git status --short | head -5'),
    ),
    when=has_git,
    done=lambda conversation: conversation.attempts("save") >= _warnings(conversation),
)
_REACTIONS = [_LOOK, _REREAD, _SAVE]


def _recheck(number: int) -> list[Step]:
    first, mend, again = f"recheck-{number}", f"mend-{number}", f"recheck-{number}-again"
    return [
        Step(first, say(Text("The checks first."), use("bash", command=TESTS))),
        Step(
            mend,
            say(
                Thought("The date arithmetic is the part that has failed before."),
                use("write_file", path="streaks.py", content=template("streaks.py", mended=True)),
            ),
            when=lambda conversation: failed(conversation, first),
            done=lambda conversation: any(call.ok for call in conversation.of(mend)),
        ),
        Step(
            again,
            say(use("bash", command=TESTS_AGAIN)),
            when=lambda conversation: failed(conversation, first),
        ),
    ]


SCRIPT = Script("webapp", play)
