"""`grep`: ripgrep where the sandbox has it, else the same answers from Python's own expressions."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Any, Iterator

from .confine import resolve, shown
from .outcomes import Refusal
from .state import State, open_state
from .text import MAX_OUTPUT_CHARS, clean, shorten

MAX_MATCHES = 250
"""Lines returned."""
MAX_COLUMNS = 500
"""Where a matching line is cut."""
SEARCH_SECONDS = 30
"""How long a search may take."""


def grep(request: dict[str, Any]) -> dict[str, Any]:
    """Answer with matching files, lines or counts, sorted by path."""
    state = open_state(request)
    try:
        lines, more = _search(state, request)
    except Refusal as refusal:
        return {"text": str(refusal), "is_error": True}
    if not lines:
        return {"text": "No matches found", "is_error": False}
    if more:
        lines.append(f"(the first {MAX_MATCHES} lines; there are more: narrow the pattern, path or glob)")
    return {"text": shorten("\n".join(lines), limit=MAX_OUTPUT_CHARS)[0], "is_error": False}


def _search(state: State, request: dict[str, Any]) -> tuple[list[str], bool]:
    start = shown(state, resolve(state, request.get("path", "."), logs=True))
    if not os.path.lexists(os.path.join(state.workspace, start)):
        raise Refusal(f"Path does not exist: {request.get('path')}")
    program = _ripgrep(state)
    if program is None:
        from .fallback import search

        found = search(state, request, start, seconds=SEARCH_SECONDS)
    else:
        found = _run(_arguments(program, request, start), state.workspace)
    lines: list[str] = []
    for line in found:
        if len(lines) == MAX_MATCHES:
            return lines, True
        lines.append(line)
    return lines, False


def _ripgrep(state: State) -> str | None:
    """Find ripgrep; one inside the workspace is what the model wrote, and is not run."""
    program = shutil.which("rg")
    inside = program and os.path.realpath(program).startswith(state.workspace + "/")
    return None if inside else program


def _arguments(program: str, request: dict[str, Any], start: str) -> list[str]:
    mode = request.get("mode", "files")
    arguments = [program, "--no-config", "--color=never", "--no-messages", "--sort=path", "--hidden"]
    arguments += ["--glob=!.git", f"--max-columns={MAX_COLUMNS}", "--max-columns-preview"]
    if mode == "content":
        arguments += [
            "--line-number",
            "--no-heading",
            "--with-filename",
            f"--context={request.get('context', 0)}",
        ]
    else:
        arguments += ["--files-with-matches"] if mode == "files" else ["--count", "--with-filename"]
    if request.get("ignore_case"):
        arguments.append("--ignore-case")
    if request.get("glob"):
        arguments.append(f"--glob={request['glob']}")
    return [*arguments, "-e", request["pattern"], "--", start]


def _run(arguments: list[str], cwd: str) -> Iterator[str]:
    """Run ripgrep and give its lines; stops it when the caller has enough or the time is over."""
    import threading

    with subprocess.Popen(
        arguments, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        timer = threading.Timer(SEARCH_SECONDS, process.kill)
        timer.start()
        try:
            assert process.stdout
            assert process.stderr
            for line in process.stdout:
                yield clean(line[2:] if line.startswith(b"./") else line).rstrip("\n")
            _check(process.wait(), process.stderr.read())
        finally:
            timer.cancel()
            process.kill()


def _check(code: int, errors: bytes) -> None:
    if code < 0:
        raise Refusal(f"The search took more than {SEARCH_SECONDS} seconds. Narrow the path or the glob.")
    if code > 1 and errors.strip():
        raise Refusal(f"The search failed: {clean(errors).strip()[:1000]}")
