"""`mark` and `verify`: whether this is the sandbox that was paused, with the files that it had."""

from __future__ import annotations

import os
from typing import Any

from . import index, reserve
from .state import State, open_state, read_json, read_text, write_json


def mark(request: dict[str, Any]) -> dict[str, Any]:
    """Note a nonce, the last claim and the last capture, on a full disk too; push all to the disk."""
    state = open_state(request)
    marker = {"nonce": request["nonce"], **_progress(state)}
    with reserve.given(state):
        write_json(state.path("marker"), marker)
    os.sync()
    return marker


def verify(request: dict[str, Any]) -> dict[str, Any]:
    """Answer whether the marker of this nonce is there and nothing is older or newer than it says."""
    workspace = os.path.isdir(os.path.expanduser(request["workspace"]))
    state = open_state(request)
    marker = read_json(state.path("marker"))
    if not workspace:
        reason = "the workspace is missing"
    elif marker is None:
        reason = "there is no marker: these are not the files that were paused"
    elif marker.get("nonce") != request["nonce"]:
        reason = "the marker is of another pause: these files are older or another sandbox's"
    else:
        now = _progress(state)
        wrong = [
            f"{name} is {now[name]!r}, was {marker[name]!r}" for name in now if now[name] != marker[name]
        ]
        reason = "; ".join(wrong)
    return {"intact": not reason, "reason": reason}


def _progress(state: State) -> dict[str, Any]:
    number = index.load(index.current_path(state)).number
    return {"claim": read_text(state.path("last_claim")), "capture": number, "generation": state.generation}
