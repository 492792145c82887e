"""Texts: as everything after us can hold them, and money as people read it. Pure."""

import re
from typing import cast

from pydantic import JsonValue

LOST = "[sandbox] The sandbox was lost"
"""Begins a note on what a lost sandbox undid; it belongs to the files as the model does not know it yet."""
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def clean(value: JsonValue) -> JsonValue:
    """Replace NUL and lone surrogates, which neither database nor model takes, by U+FFFD."""
    if isinstance(value, str):
        return _UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, list):
        return [clean(item) for item in value]
    if isinstance(value, dict):
        return {cast("str", clean(key)): clean(item) for key, item in value.items()}
    return value


def dollars(microdollars: int) -> str:
    """Microdollars as people read them, e.g. `$1.25`; small amounts keep four places."""
    amount = microdollars / 1_000_000
    return f"${amount:.4f}" if 0 < abs(amount) < 0.01 else f"${amount:.2f}"  # noqa: PLR2004 one cent


def spent_of(spent: int, sandbox: int) -> str:
    """What was spent, and where sandboxes cost money, how much of it was theirs; microdollars."""
    return dollars(spent) + (f" ({dollars(sandbox)} of it sandbox time)" if sandbox else "")


def told_of_loss(reason: str, undone: tuple[str, ...], running: tuple[str, ...]) -> str:
    """What the model is told when its sandbox was lost and its files restored."""
    lost = f"{LOST} ({reason}). Your files are back as of the last snapshot; "
    told = [lost + "background processes and everything outside the workspace are gone."]
    if running:
        told += ["These background commands do not run any more:", _listed(running)]
    if undone:
        told += ["These finished calls were undone:", _listed(undone)]
    return "\n".join(told)


def told_of_late(call: str) -> str:
    """What the model is told of a call that had ended in a lost sandbox, as its result says it is done."""
    return f"{LOST} before the end of this finished call was known. It was undone, too:\n- {call}"


def told_of_pause(running: tuple[str, ...]) -> str:
    """What the model is told when its sandbox comes back from a pause, before which these were stopped."""
    return "[sandbox] It was paused, so these background commands do not run any more:\n" + _listed(running)


def _listed(lines: tuple[str, ...]) -> str:
    return "\n".join(f"- {line}" for line in lines)
