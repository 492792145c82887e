"""`idle`: says a word and ends its turn."""

from starter.local.model.conversation import Conversation
from starter.local.model.steps import Reply, Script, Text


def play(conversation: Conversation) -> Reply:
    """End the turn at once."""
    return Reply("end", [Text(f"Nothing needs building here. (Asked {conversation.rounds + 1} times.)")])


SCRIPT = Script("idle", play)
