"""`call`: run a changing tool under its claim, then capture what it changed. `interrupt`: end it early."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import Any, Callable, ContextManager, Generator

from . import reserve
from .claims import Claim, open_claim
from .dispatch import answer
from .failures import RunnerFailure, describe_os_error
from .outcomes import Refusal, outcome
from .state import State, identity, locked, open_state

MAX_RUNNING = 10
"""Background commands that an answer names."""
FORGOTTEN = (
    "The call was interrupted, and nobody knows what it did: the folder ~/.nightshift was deleted "
    "meanwhile. Look at the files and processes before you repeat it, and leave that folder alone."
)
Room = Callable[[State], ContextManager[None]]


def call(request: dict[str, Any]) -> dict[str, Any]:
    """Run a tool at most once; a second caller waits for the first and gets the same answer.

    A first caller that names `inline` gets with it what `pending` answers: it is spared the question.
    One that comes `again` and finds another `identity` than its own has been forgotten, with what it began.

    Raises RunnerFailure; `begun` tells that a part of the call may have taken effect.
    """
    state = open_state(request)
    room = reserve.given if request.get("tool") == "bash" else _untouched
    with room(state):
        claim = open_claim(state, request["claim"])
    with locked(claim.path("lock")):
        recorded = claim.result()
        if recorded is not None:
            return recorded
        try:
            result = _make(claim, request, room)
        except (RunnerFailure, OSError) as error:
            if not claim.has_begun:
                raise
            raise _cut_off(claim, error) from None
        return {**result, "pending": _pending(request)} if "inline" in request else result


def _make(claim: Claim, request: dict[str, Any], room: Room) -> dict[str, Any]:
    """Run the tool, capture what it changed, keep the answer."""
    with room(claim.state):
        result = outcome("interrupted", FORGOTTEN) if _is_forgotten(claim, request) else _run(claim, request)
    result["running"] = _running(claim.state)
    # Before the capture, which makes an empty one.
    result["workspace_gone"] = not os.path.lexists(claim.state.workspace)
    if request.get("capture", True) and result["status"] != "refused":
        result.update(_capture(request))
    with room(claim.state):
        claim.record(result)
    return result


def _is_forgotten(claim: Claim, request: dict[str, Any]) -> bool:
    """Tell whether an earlier attempt may have run, and its claim was deleted with all the others."""
    known = request.get("identity")
    return bool(request.get("again") and known and known != identity(claim.state))


def _cut_off(claim: Claim, error: RunnerFailure | OSError) -> RunnerFailure:
    """End what a call began whose answer cannot be kept: nobody would know that it runs."""
    from . import groups

    group = groups.recorded(claim.path("pid"), mark=claim.mark)
    if group is not None and not os.path.isfile(claim.path("exit")):
        with suppress(RunnerFailure, OSError):
            groups.kill(group)
    if isinstance(error, RunnerFailure):
        return RunnerFailure(error.kind, str(error), begun=True)
    told = describe_os_error(error)
    return RunnerFailure(told["kind"], told["message"], begun=True)


@contextmanager
def _untouched(_: State) -> Generator[None, None, None]:
    """Leave what is set aside to commands: a file written into it would leave none to delete with."""
    yield


def interrupt(request: dict[str, Any]) -> dict[str, Any]:
    """Kill what a call's command runs; whoever waits for that call then gets what it had printed.

    `killed` is false when nothing ran: the call is over, or has not begun.
    """
    from . import groups

    claim = open_claim(open_state(request), request["claim"])
    group = groups.recorded(claim.path("pid"), mark=claim.mark)
    running = group is not None and claim.result() is None and bool(groups.members(group))
    if group is not None and running:
        groups.kill(group)
    return {"killed": running}


def _run(claim: Claim, request: dict[str, Any]) -> dict[str, Any]:
    tool = request["tool"]
    try:
        if tool == "bash":
            from .commands import bash

            return bash(claim, request)
        if tool in ("write_file", "edit_file"):
            from . import files

            return (files.write_file if tool == "write_file" else files.edit_file)(claim, request["input"])
    except Refusal as refusal:
        return outcome("refused", str(refusal))
    raise RunnerFailure("invalid_request", f"{tool!r} is no changing tool: bash, write_file, edit_file.")


def _running(state: State) -> list[str]:
    """Tell what runs in the background, so that the model can be told of it once it is gone."""
    if not os.listdir(os.path.dirname(state.path("processes", "x"))):
        return []
    from .processes import running

    return running(state)[:MAX_RUNNING]


def _capture(request: dict[str, Any]) -> dict[str, Any]:
    """Capture; a failure must not lose the answer of a call that was made."""
    result = answer("capture", request)
    return {"capture": None, "capture_error": result["error"]} if "error" in result else result


def _pending(request: dict[str, Any]) -> dict[str, Any] | None:
    result = answer("pending", request)
    return None if "error" in result else result
