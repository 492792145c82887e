"""`grep`: ripgrep where the sandbox has it, else the same answers from Python's own expressions.

What is searched does not depend on ignore files: one list of skipped directories holds for both ways.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import Any, Iterator

from .confine import MAX_FILE_BYTES, read_regular, require_text, resolve, shown
from .deadline import SEARCH_SECONDS, too_slow
from .kinds import globs_of
from .outcomes import Refusal
from .state import State, open_state
from .text import MAX_OUTPUT_CHARS, clean, shorten
from .trees import is_binary, skipped

MAX_MATCHES = 250
"""Lines returned if the request does not say."""
MAX_COLUMNS = 500
"""Where a line of the answer is cut."""
_BINARY = re.compile(rb"(?:.*: )?(?:WARNING: stopped searching binary file|binary file matches)")


def grep(request: dict[str, Any]) -> dict[str, Any]:
    """Answer with matching files, lines or counts, sorted by path."""
    state = open_state(request)
    most, skip = request.get("head_limit", MAX_MATCHES), request.get("offset", 0)
    try:
        lines, more = _page(_search(state, request), most=most, skip=skip)
    except Refusal as refusal:
        return {"text": str(refusal), "is_error": True}
    if not lines:
        nothing = f"No matches found after the first {skip} lines" if skip else "No matches found"
        return {"text": nothing, "is_error": False}
    if more:
        lines.append(
            f"({most} lines, and there are more: narrow the pattern, path or glob, or set offset "
            f"to {skip + most})"
        )
    return {"text": shorten("\n".join(lines), limit=MAX_OUTPUT_CHARS)[0], "is_error": False}


def _page(found: Iterator[str], *, most: int, skip: int) -> tuple[list[str], bool]:
    """Take the lines that were asked for; gives whether there are more."""
    lines: list[str] = []
    for number, line in enumerate(found):
        if len(lines) == most:
            return lines, True
        if number >= skip:
            lines.append(line if len(line) <= MAX_COLUMNS else line[:MAX_COLUMNS] + " [… line cut]")
    return lines, False


def _search(state: State, request: dict[str, Any]) -> Iterator[str]:
    pattern = require_text(request["pattern"], "pattern")
    glob = re.sub(r"^(!?)\./", r"\1/", require_text(request.get("glob") or "", "glob"))
    path = request.get("path", ".")
    real = resolve(state, path, logs=True)
    if not os.path.lexists(real):
        raise Refusal(f"Path does not exist: {path}. Find it with glob.")
    if not os.path.isdir(real) and is_binary(read_regular(real, path)):
        raise Refusal(f"{path} is a binary file. Look at it in bash (file, strings, xxd).")
    spans = bool(request.get("multiline")) or "\n" in pattern or r"\n" in pattern
    request = {**request, "glob": glob, "spans": spans}
    program, start = _ripgrep(state), shown(state, real)
    if program is None:
        from .fallback import search

        return search(state, request, start, around(request))
    return _run(_arguments(program, request, start), state.workspace)


def _ripgrep(state: State) -> str | None:
    """Find ripgrep; one inside the workspace is what the model wrote, and is not run."""
    program = shutil.which("rg")
    inside = program and os.path.realpath(program).startswith(state.workspace + "/")
    return None if inside else program


def _arguments(program: str, request: dict[str, Any], start: str) -> list[str]:
    arguments = [program, "--no-config", "--color=never", "--no-messages", "--sort=path", "--hidden"]
    arguments += ["--no-ignore", "--crlf", "--engine=auto", f"--max-filesize={MAX_FILE_BYTES}"]
    arguments += _mode(request)
    if request.get("ignore_case"):
        arguments.append("--ignore-case")
    if request["spans"]:
        arguments.append("--multiline")
    if request.get("multiline"):
        arguments.append("--multiline-dotall")
    glob, kind = request["glob"], request.get("type") or ""
    if glob:
        arguments.append(f"--glob={glob}")
    if kind:
        added = [f"--type-add={kind}:{each}" for each in globs_of(kind)]
        arguments += [f"--type-clear={kind}", *added, f"--type={kind}"]
    # A later glob wins: what is skipped must stand after one that takes everything in.
    arguments += [f"--glob=!{name}/" for name in sorted(skipped(f"{start}/{glob}"))]
    return [*arguments, "-e", request["pattern"], "--", start]


def _mode(request: dict[str, Any]) -> list[str]:
    mode = request.get("mode", "files")
    if mode == "content":
        before, after = around(request)
        context = [f"--before-context={before}", f"--after-context={after}"]
        return ["--line-number", "--no-heading", "--with-filename", *context]
    if mode == "count":
        return ["--count-matches" if request["spans"] else "--count", "--with-filename"]
    return ["--files-with-matches"]


def around(request: dict[str, Any]) -> tuple[int, int]:
    """Give how many lines before and after a match are wanted."""
    context = request.get("context", 0)
    return request.get("before") or context, request.get("after") or context


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
                if not _BINARY.match(line):
                    yield clean(line[2:] if line.startswith(b"./") else line).rstrip("\n")
            _check(process.wait(), process.stderr.read())
        finally:
            timer.cancel()
            process.kill()


def _check(code: int, errors: bytes) -> None:
    if code < 0:
        raise too_slow(SEARCH_SECONDS)
    if code > 1 and errors.strip():
        raise Refusal(f"The search failed: {clean(errors).strip()[:1000]}")
