"""`wild`: gets the tools wrong in every way a model does, then repairs itself and ends."""

from starter.local.model.conversation import Conversation
from starter.local.model.scripts.smallest_app import APP, CHECK, TEST
from starter.local.model.steps import Reply, Script, Step, Text, Use, play_steps, say, use


def play(conversation: Conversation) -> Reply:
    """Go through the mistakes in order."""
    unknown = _first(conversation, "unknown", use("teleport", destination="the finished product"))
    return unknown or play_steps(
        _STEPS, conversation, closing="A rough road, but the page stands and its test passes."
    )


def _first(conversation: Conversation, step: str, call: Use) -> Reply | None:
    if conversation.of(step):
        return None
    return Reply(step, [Text("I will use a tool that nobody gave me."), call])


_INVALID = say(
    Text("Now inputs that do not fit the tools."),
    use("read_file", offset="three"),
    use("bash", command=7, colour="blue"),
    use("edit_file", path="nowhere.txt", old_string="a", new_string="a"),
)
_PARALLEL = say(
    Text("Two changes at once."),
    use("write_file", path="app.py", content="raise SystemExit('draft')\n"),
    use("bash", command="mkdir -p tests && : > tests/__init__.py"),
)
_READ = say(
    Text("Let me see what is really there."), use("read_file", path="app.py"), use("glob", pattern="**/*.py")
)
_REPAIR = say(
    Text("Now properly."),
    use("write_file", path="app.py", content=APP),
    use("write_file", path="tests/test_app.py", content=TEST),
)
_STEPS = [
    Step("invalid", _INVALID),
    Step("parallel", _PARALLEL),
    Step("read", _READ),
    Step("repair", _REPAIR),
    Step("check", say(use("bash", command=CHECK))),
]

SCRIPT = Script("wild", play)
