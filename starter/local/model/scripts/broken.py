"""`broken fails=N`: claims to be done with an app that crashes; mends it at the Nth failure report."""

from starter.local.model.conversation import Conversation
from starter.local.model.scripts.smallest_app import APP, CHECK, TEST
from starter.local.model.steps import Reply, Script, Step, Text, play_steps, say, use

_CRASH = 'raise RuntimeError("the settings are missing")\n\n\n'


def play(conversation: Conversation) -> Reply:
    """Write the crashing app and claim success, until the failure report has come often enough."""
    fails = max(1, conversation.argument("fails", 1))
    if conversation.rounds == 0:
        return play_steps([_WRITE], conversation, closing="The app is finished and ready to use.")
    if conversation.rounds < fails:
        return Reply("end", [Text(f"I looked again; it should work now. (Attempt {conversation.rounds}.)")])
    return play_steps(
        [_LOOK, _MEND, _CHECK], conversation, closing="The crash is mended and the test passes."
    )


_WRITE = Step(
    "write",
    say(
        use("narrate", message="We write the app in one go.", phase_name="Build"),
        use("write_file", path="app.py", content=_CRASH + APP),
        use("write_file", path="tests/__init__.py", content=""),
        use("write_file", path="tests/test_app.py", content=TEST),
    ),
)
_LOOK = Step("look", say(Text("The checks fail; let me see why."), use("read_file", path="app.py")))
_MEND = Step("mend", say(use("edit_file", path="app.py", old_string=_CRASH, new_string="")))
_CHECK = Step("check", say(use("bash", command=CHECK)))

SCRIPT = Script("broken", play)
