"""A browser of the sandbox, spoken to through a pipe: started, asked, and killed with all that it started."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from typing import Any, Dict, Generator, List, Optional, Set, Tuple

from .state import State

PROGRAMS = (
    "chromium-headless-shell",
    "headless_shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
)
"""Looked for on PATH, in this order."""
MAX_MESSAGE = 16 * 1024 * 1024
"""The longest message that is taken from a browser, bytes."""
KEPT_ERRORS = 3
"""Errors of a page's console that are kept in words."""
MAX_ERROR_CHARS = 300
# A browser takes questions on descriptor 3 and answers on 4.
_TO_PIPE = 'exec 3<&0 4>&1 </dev/null >/dev/null 2>&1; exec "$@"'
_ARGUMENTS = (
    *("--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
    *("--disable-dev-shm-usage", "--no-first-run", "--disable-breakpad", "--disable-extensions"),
    *("--disable-background-networking", "--disable-sync", "--mute-audio"),
)


class BrowserFailed(Exception):
    """The browser ended, hung, or did not do what was asked."""


def find_browser(state: State) -> Optional[str]:
    """Find a Chromium on PATH; one inside the workspace is what the model wrote, and is not run."""
    for name in PROGRAMS:
        found = shutil.which(name)
        if found and not os.path.realpath(found).startswith(state.workspace + "/"):
            return found
    return None


@contextmanager
def opened(program: str, *, seconds: float) -> Generator["Browser", None, None]:
    """Run a browser with a profile of its own for at most so long; nothing of it is left."""
    profile = tempfile.mkdtemp(prefix="nightshift-browser-")
    process = subprocess.Popen(
        ["sh", "-c", _TO_PIPE, "sh", program, *_ARGUMENTS, f"--user-data-dir={profile}", "about:blank"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    timer = threading.Timer(seconds, _kill, (process,))
    timer.start()
    try:
        yield Browser(process)
    finally:
        timer.cancel()
        _kill(process)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        process.wait()
        shutil.rmtree(profile, ignore_errors=True)


def _kill(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


class Browser:
    """One running browser: questions in order, and what happened to its page meanwhile."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdin
        assert process.stdout
        self._questions = process.stdin
        self._answers = process.stdout.fileno()
        self._number = 0
        self._session = ""
        self._buffer = b""
        self._seen: Set[Tuple[str, str]] = set()
        self.errors: List[str] = []
        """The first errors of the page's console."""
        self.error_count = 0

    def open_page(self) -> None:
        """Open an empty page with no cookies, which later questions are about."""
        self._session = ""
        self.errors, self.error_count = [], 0
        context = self.ask("Target.createBrowserContext")["browserContextId"]
        page = self.ask("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")
        self.ask("Page.setLifecycleEventsEnabled", enabled=True)

    def ask(self, method: str, **parameters: Any) -> Dict[str, Any]:
        """Ask one thing and give its result.

        Raises BrowserFailed.
        """
        self._number += 1
        question = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            question["sessionId"] = self._session
        try:
            self._questions.write(json.dumps(question).encode() + b"\0")
            self._questions.flush()
        except OSError:
            raise BrowserFailed("it ended at once or was stopped") from None
        message = self._next()
        while message.get("id") != self._number:
            message = self._next()
        if "error" in message:
            raise BrowserFailed(f"{method}: {message['error'].get('message')}")
        result: Dict[str, Any] = message.get("result") or {}
        return result

    def wait_for(self, name: str, loader: str, *, seconds: float) -> bool:
        """Wait until a loading document has come so far: load, networkIdle; tells whether it has."""
        deadline = time.monotonic() + seconds
        while (name, loader) not in self._seen:
            left = deadline - time.monotonic()
            if b"\0" not in self._buffer and not select.select([self._answers], [], [], max(0.0, left))[0]:
                return False
            self._next()
        return True

    def _next(self) -> Dict[str, Any]:
        """Give the next message; how far a document has come, and what its console says, is noted."""
        message: Dict[str, Any] = json.loads(self._read())
        if message.get("method") == "Page.lifecycleEvent":
            event = message["params"]
            self._seen.add((event["name"], event["loaderId"]))
        elif message.get("sessionId") == self._session:
            error = _error(str(message.get("method")), message.get("params") or {})
            if error is not None:
                self.error_count += 1
                self.errors = [*self.errors, error[:MAX_ERROR_CHARS]][:KEPT_ERRORS]
        return message

    def _read(self) -> bytes:
        while b"\0" not in self._buffer:
            data = os.read(self._answers, 1024 * 1024)
            if not data:
                raise BrowserFailed("it ended at once or took too long")
            self._buffer += data
            if len(self._buffer) > MAX_MESSAGE:
                raise BrowserFailed("it answered too much")
        message, _, self._buffer = self._buffer.partition(b"\0")
        return message


def _error(event: str, given: Dict[str, Any]) -> Optional[str]:
    """Give the text of an event that is an error of the page's console."""
    if event == "Runtime.exceptionThrown":
        thrown: Dict[str, Any] = given["exceptionDetails"]
        described: Dict[str, Any] = thrown.get("exception") or {}
        return str(described.get("description") or thrown.get("text")).split("\n")[0]
    if event == "Runtime.consoleAPICalled" and given["type"] in ("error", "assert"):
        return " ".join(str(one.get("value", one.get("description", ""))) for one in given["args"])
    if event == "Log.entryAdded" and given["entry"]["level"] == "error":
        return f"{given['entry']['text']} {given['entry'].get('url', '')}".strip()
    return None
