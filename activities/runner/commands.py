"""The bash tool: a command in a session of its own, its output in a file, its working directory kept."""

from __future__ import annotations

import os
import shlex
import time
from typing import Any

from . import groups, reserve
from .claims import Claim
from .confine import require_text
from .outcomes import Refusal, outcome
from .state import read_json, read_text, write_atomic, write_json
from .text import MAX_OUTPUT_CHARS, read_ends

COMMAND_SECONDS = 120
"""How long a command runs if the request does not say."""
ROOM_FOR_NOTES = 2_000
"""Characters left to the worker's notes: a result that it must cut again would lose the output's path."""
MAX_OUTPUT_BYTES = 256 * 1024 * 1024
"""How much a foreground command may print before it is stopped, so that it cannot fill the disk."""
MAX_COMMAND_BYTES = 128 * 1024 - 1
"""The longest argument that Linux gives to a program."""
SETTLING_SECONDS = 0.5
"""How long a background command is watched for a failure at start."""
_WITHHELD = ("ANTHROPIC_", "AWS_", "E2B_API_KEY", "E2B_ACCESS_TOKEN", "NIGHTSHIFT_", "BASH_ENV")
_DEFAULTS = {
    "TERM": "dumb",
    "PAGER": "cat",
    "GIT_PAGER": "cat",
    "GIT_TERMINAL_PROMPT": "0",
    "DEBIAN_FRONTEND": "noninteractive",
}


def bash(claim: Claim, request: dict[str, Any]) -> dict[str, Any]:
    """Run a command, or give the answer of the one that ran; what was cut short is killed first."""
    group = groups.recorded(claim.path("pid"), mark=claim.mark)
    ended = read_json(claim.path("exit"))
    if group is None:
        ended = _start(claim, request)
    elif ended is None:
        groups.kill(group)
        return _with_output(claim, outcome("interrupted", "", cwd=_cwd(claim)))
    with reserve.given(claim.state):
        return _describe(claim, request, ended)


def _start(claim: Claim, request: dict[str, Any]) -> dict[str, Any]:
    given = request["input"]
    if len(require_text(given["command"], "command").encode("utf-8", "surrogateescape")) > MAX_COMMAND_BYTES:
        raise Refusal(
            f"The command has more than {MAX_COMMAND_BYTES} bytes. Write a script with write_file and run it."
        )
    rc = claim.path("rc")
    write_atomic(rc, f"unset BASH_ENV\ntrap 'pwd -P >{shlex.quote(claim.path('cwd'))}' EXIT\n".encode())
    program = groups.Program(
        ["bash", "-c", given["command"]], _cwd(claim), _environment(claim, request, rc), claim.path("output")
    )
    write_atomic(program.output, b"")
    pid = groups.start(program, pid_path=claim.path("pid"))
    if given.get("background"):
        ended = {"exit_code": groups.wait(pid, seconds=SETTLING_SECONDS), "stopped": "", "pid": pid}
    else:
        ended = _finish(claim, request, pid)
    with reserve.given(claim.state):  # the command may have filled the disk
        write_json(claim.path("exit"), ended)
    return ended


def _finish(claim: Claim, request: dict[str, Any], pid: int) -> dict[str, Any]:
    """Wait for a foreground command; stop it when its time or its output is over."""
    given = request["input"]
    seconds = request.get("timeout_seconds") or given.get("timeout_seconds") or COMMAND_SECONDS
    most = request.get("limits", {}).get("output_bytes", MAX_OUTPUT_BYTES)
    deadline = time.monotonic() + seconds
    stopped, code = "", None
    while code is None and not stopped:
        left = deadline - time.monotonic()
        code = groups.wait(pid, seconds=max(0.0, min(left, 0.5)))
        if code is None and _size(claim.path("output")) > most:
            stopped = f"it printed more than {most} bytes"
        elif code is None and left <= 0:
            stopped = f"it ran longer than {seconds} seconds"
    if stopped:
        group = groups.recorded(claim.path("pid"), mark=claim.mark)
        groups.kill(group or groups.Group(pid, "", claim.mark))
        groups.wait(pid, seconds=groups.KILL_SECONDS)
    return {"exit_code": code, "stopped": stopped, "pid": pid}


def _size(path: str) -> int:
    """Give a file's size; a command may delete even its own output."""
    try:
        return os.path.getsize(path)
    except FileNotFoundError:
        return 0


def _describe(claim: Claim, request: dict[str, Any], ended: dict[str, Any]) -> dict[str, Any]:
    code, background = ended["exit_code"], bool(request["input"].get("background"))
    _track(claim, request["input"]["command"])
    if background and code is None:
        log = claim.path("output")
        text = (
            f"Started in the background with pid {ended['pid']}. Its output goes to {log}: read it with "
            f"read_file, or tail it in bash. Stop it with: kill -- -{ended['pid']}"
        )
        return outcome("done", text, cwd=_cwd(claim), output_path=log, log_path=log)
    note = "" if background else _keep_cwd(claim)
    if ended["stopped"]:
        head = (
            f"The command was stopped: {ended['stopped']}. For a server or a long job set background to true."
        )
        return _with_output(claim, outcome("timeout", "", cwd=_cwd(claim)), head=head)
    head = f"Exit code {code}" if code else ""
    result = outcome("done", "", exit_code=code, is_error=code != 0, cwd=_cwd(claim))
    return _with_output(claim, result, head=head, foot=note)


def _with_output(claim: Claim, result: dict[str, Any], *, head: str = "", foot: str = "") -> dict[str, Any]:
    path = claim.path("output")
    if not os.path.exists(path):
        write_atomic(path, b"")
    hint = f"; the whole output is in {path}"
    limit = MAX_OUTPUT_CHARS - ROOM_FOR_NOTES - len(head) - len(foot) - 2
    text, truncated = read_ends(path, limit=limit, hint=hint)
    if result["status"] == "interrupted":
        head = "The command was interrupted; it may have done part of its work. Look before you run it again."
    parts = [part for part in (head, text.rstrip("\n"), foot) if part]
    result.update(text="\n".join(parts) or "(no output)", truncated=truncated, output_path=path)
    return result


def _track(claim: Claim, command: str) -> None:
    """Remember what still runs after the call, so that it can be listed and stopped."""
    group = groups.recorded(claim.path("pid"), mark=claim.mark)
    if group and groups.members(group):
        row = {"pid": group.pid, "ticks": group.ticks, "mark": group.mark, "command": command[:200]}
        write_json(claim.state.path("processes", f"{group.pid}.json"), row)


def _cwd(claim: Claim) -> str:
    kept = read_text(claim.state.path("cwd"))
    places = [place for place in (kept, claim.state.workspace) if os.path.isdir(place)]
    return places[0] if places else claim.state.home


def _keep_cwd(claim: Claim) -> str:
    """Keep where the command ended for the next one; outside the workspace it is reset, and said."""
    state, ended = claim.state, read_text(claim.path("cwd")).rstrip("\n")
    inside = (ended + "/").startswith(state.workspace + "/")
    if ended and inside:
        write_atomic(state.path("cwd"), os.fsencode(ended))
    elif ended:
        write_atomic(state.path("cwd"), os.fsencode(state.workspace))
        return f"The working directory was reset to {state.workspace}."
    return ""


def _environment(claim: Claim, request: dict[str, Any], rc: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_WITHHELD)}
    kept.setdefault("PATH", "/usr/local/bin:/usr/bin:/bin")
    kept.setdefault("LANG", "C.UTF-8")
    kept.update(_DEFAULTS, HOME=claim.state.home)
    kept.update(request.get("environment") or {})
    kept.update({groups.MARK: claim.mark, "BASH_ENV": rc})
    kept.pop("PWD", None)
    return kept
