"""`loop`: asks the same thing for ever, whatever it is told."""

from starter.local.model.conversation import Conversation
from starter.local.model.steps import Reply, Script, Text, use


def play(_conversation: Conversation) -> Reply:
    """Repeat the same call."""
    return Reply("again", [Text("Let me look once more."), use("bash", command="ls -la")])


SCRIPT = Script("loop", play)
