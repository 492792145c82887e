"""Which script plays: the one that the brief names, as in `[[script:long turns=60]]`, else the web app."""

from starter.local.model.conversation import Conversation
from starter.local.model.scripts import broken, idle, long, loop, night, sleeper, units, webapp, wild
from starter.local.model.steps import Reply, Script, Text

SCRIPTS: tuple[Script, ...] = (
    sleeper.SCRIPT,
    night.SCRIPT,
    long.SCRIPT,
    idle.SCRIPT,
    wild.SCRIPT,
    loop.SCRIPT,
    units.SCRIPT,
    broken.SCRIPT,
    webapp.SCRIPT,
)


def next_reply(conversation: Conversation) -> Reply:
    """Return what the model says next."""
    if not conversation.tools:
        return Reply("end", [Text(f"Understood. {conversation.turns} turns so far; nothing to add.")])
    return _chosen(conversation).play(conversation)


def _chosen(conversation: Conversation) -> Script:
    named = conversation.directive[0]
    return next((script for script in SCRIPTS if script.name == named), webapp.SCRIPT)
