"""Proof that the software runs, in a fresh sandbox: installs, checks, starts it and looks at it.

A check that fails is a report for the model; only the provider's faults are raised. Every command is run at
most once by its claim. Knows the runner and a URL; which commands to run is `recipes.py`'s.
"""

import asyncio
import json
import shlex
from datetime import timedelta
from typing import Any, Final, NamedTuple

import httpx2
from temporalio import activity
from typing_extensions import override

from activities import recipes
from activities.failures import classified
from activities.heartbeat import heartbeating
from activities.sandbox_time import SandboxTime
from activities.screenshots import NoBrowser, PageUnreachable, Screenshots
from activities.workspace import QUICK, RunnerFault, Workspace
from workflows import ports
from workflows.files import ProofReport, ProofStep
from workflows.payload import PREVIEW_CHARS

COMMAND_SECONDS: Final = 900
"""How long one install or check may take."""
START_TIME: Final = timedelta(seconds=60)
"""How long an app may take until it answers."""
PORT: Final = 8000
"""What the app is told to listen on."""
REPORT_CHARS: Final = 4_000
"""The longest report, characters."""
_SERVER_ERROR: Final = 500
_LOOK: Final = """
import json, os, sys
names, tests, python, texts = [], False, False, {}
skip = {'.git', 'node_modules', '.venv', 'venv', '__pycache__'}
for folder, folders, files in os.walk('.'):
    folders[:] = sorted(set(folders) - skip)
    top = folder == '.'
    near = top or folder in ('./public', './dist')
    names += [os.path.join(folder, f)[2:] for f in files if near]
    python = python or any(f.endswith('.py') for f in files)
    tests = tests or any(f.startswith('test_') and f.endswith('.py') or f.endswith('_test.py') for f in files)
for name in sys.argv[1:]:
    if os.path.isfile(name) and os.path.getsize(name) < 1000000:
        texts[name] = open(name, errors='replace').read()
print(json.dumps([names, texts, tests, python]))
"""
_LISTENING: Final = """
import json
ports = set()
for name in ('/proc/net/tcp', '/proc/net/tcp6'):
    try:
        rows = [line.split() for line in open(name)][1:]
    except OSError:
        continue
    ports |= {int(row[1].rsplit(':', 1)[1], 16) for row in rows if row[3] == '0A'}
print(json.dumps(sorted(ports)))
"""


class Ran(NamedTuple):
    """One command of a proof."""

    command: str
    passed: bool
    text: str
    log_path: str = ""


class Checks(ports.Checks):
    """The steps of the proof."""

    def __init__(
        self,
        workspace: Workspace,
        screenshots: Screenshots,
        *,
        time: SandboxTime,
        patience: timedelta = START_TIME,
    ) -> None:
        self._workspace = workspace
        self._time = time
        self._screenshots = screenshots
        self._patience = patience

    @override
    @activity.defn
    async def install_dependencies(self, request: ProofStep) -> ProofReport:
        """Run setup.sh and the installers that the files ask for."""
        async with heartbeating(), classified():
            await self._time.renew(request.build_id)
            commands = recipes.installs(await self._files(request))
            return await self._run_all(request, "install", commands, nothing="Nothing is to be installed.")

    @override
    @activity.defn
    async def run_checks(self, request: ProofStep) -> ProofReport:
        """Run the plan's checks, or those found in the files."""
        async with heartbeating(), classified():
            await self._time.renew(request.build_id)
            commands = list(request.checks) or recipes.checks(await self._files(request))
            return await self._run_all(request, "check", commands, nothing="There is nothing to check.")

    @override
    @activity.defn
    async def start_preview(self, request: ProofStep) -> ProofReport:
        """Start the app and wait until it answers below 500, from a socket of this sandbox."""
        async with heartbeating(), classified():
            await self._time.renew(request.build_id)
            command = request.start or recipes.start(await self._files(request))
            if not command:
                return _failed(
                    "No way to start the app was found.",
                    "Neither a Procfile with a web line, a start script in package.json, app.py, main.py, "
                    "manage.py nor index.html is there. Add one; it must listen on $PORT.",
                )
            return await self._start(request, command)

    async def _files(self, request: ProofStep) -> recipes.Files:
        names, texts, tests, python = await self._inspect(request, _LOOK, *recipes.WATCHED)
        return recipes.Files(frozenset(names), texts, has_tests=tests, has_python=python)

    async def _inspect(self, request: ProofStep, program: str, *arguments: str) -> Any:
        """Run a small read-only program in the workspace and give the JSON that it prints."""
        line = shlex.join(["python3", "-I", "-S", "-c", program, *arguments])
        line = f"cd {shlex.quote(request.sandbox.workspace)} && {line}"
        output = await self._workspace.client.run(request.sandbox.sandbox_id, line, within=QUICK)
        return json.loads(output.stdout.strip().splitlines()[-1])

    async def _run_all(
        self, request: ProofStep, step: str, commands: list[str], *, nothing: str
    ) -> ProofReport:
        """Run commands in order up to the first that fails."""
        done: list[Ran] = []
        for number, command in enumerate(commands):
            ran = await self._run(request, f"{step}-{number}", command)
            if not ran.passed:
                tried = "".join(f"passed: {each.command}\n" for each in done)
                return _failed(f"Failed: {command}", f"{tried}failed: {command}\n{ran.text}")
            done.append(ran)
        listed = "\n".join(f"passed: {ran.command}" for ran in done)
        summary = f"{len(done)} passed." if done else nothing
        return ProofReport(passed=True, summary=summary, report=_fit(listed or nothing))

    async def _run(self, request: ProofStep, name: str, command: str, *, background: bool = False) -> Ran:
        """Run one command at most once; the project's own virtual environment comes first on PATH."""
        workspace = shlex.quote(request.sandbox.workspace)
        prefix = f'cd {workspace}; [ -d .venv/bin ] && export PATH="$PWD/.venv/bin:$PATH"; '
        payload: dict[str, Any] = {
            "claim": f"proof-{request.attempt}-{name}",
            "tool": "bash",
            "input": {"command": prefix + command, "background": background},
            "timeout_seconds": COMMAND_SECONDS,
            "environment": {"PORT": str(PORT), "CI": "1", "HOST": "0.0.0.0"},  # noqa: S104 inside the sandbox
            "capture": False,
        }
        within = timedelta(seconds=COMMAND_SECONDS + 60)
        try:
            answer = await self._workspace.ask(request.sandbox, "call", payload, within=within)
        except RunnerFault as fault:
            if fault.non_retryable:
                raise
            return Ran(command, passed=False, text=f"The sandbox could not run it: {fault.message}")
        passed = answer["status"] == "done" and not answer["is_error"]
        return Ran(command, passed, str(answer["text"]), str(answer.get("log_path") or ""))

    async def _start(self, request: ProofStep, command: str) -> ProofReport:
        ran = await self._run(request, "start", command, background=True)
        if not ran.passed or not ran.log_path:
            return _failed(f"The app ended at once: {command}", f"$ {command}\n{ran.text}")
        url = await self._workspace.client.preview_url(request.sandbox.sandbox_id, PORT)
        seen = await self._wait(request, url)
        if not seen:
            shown = await self._show(request)
            summary = f"It answers: {command}"[:PREVIEW_CHARS]
            return ProofReport(passed=True, summary=summary, report=f"$ {command}\n{shown}", preview_url=url)
        log = await self._tail(request, ran.log_path)
        return _failed(f"The app does not answer: {command}", f"$ {command}\n{seen}\nIts output:\n{log}")

    async def _wait(self, request: ProofStep, url: str) -> str:
        """Ask until the app answers; empty when it did, else what was last seen."""
        seen = ""
        deadline = asyncio.get_running_loop().time() + self._patience.total_seconds()
        while asyncio.get_running_loop().time() < deadline:
            listening: list[int] = await self._inspect(request, _LISTENING)
            if PORT in listening:
                seen = await _answer(url)
                if not seen:
                    return ""
            else:
                seen = f"Nothing listens on port {PORT} ($PORT) in the sandbox; open ports: {listening}."
            await asyncio.sleep(0.5)
        return f"After {self._patience.total_seconds():.0f} seconds: {seen}"

    async def _show(self, request: ProofStep) -> str:
        """Keep what the app looks like; a missing browser or a page that will not load is said."""
        try:
            return (await self._screenshots.take(request.build_id, request.sandbox, port=PORT)).text
        except (NoBrowser, PageUnreachable) as error:
            return str(error)

    async def _tail(self, request: ProofStep, path: str) -> str:
        line = f"tail -c 2500 {shlex.quote(path)}"
        return (await self._workspace.client.run(request.sandbox.sandbox_id, line, within=QUICK)).stdout


async def _answer(url: str) -> str:
    """Ask the app once; empty when it answered below 500."""
    try:
        async with httpx2.AsyncClient(trust_env=False, timeout=10) as client:
            status = (await client.get(url)).status_code
    except httpx2.HTTPError as error:
        return f"GET / failed: {type(error).__name__}."
    return f"GET / answered {status}." if status >= _SERVER_ERROR else ""


def _failed(summary: str, report: str) -> ProofReport:
    return ProofReport(passed=False, summary=summary[:PREVIEW_CHARS], report=_fit(report))


def _fit(report: str) -> str:
    """Keep head and tail: what was tried stands first, why it failed stands last."""
    if len(report) <= REPORT_CHARS:
        return report
    return f"{report[:1_000]}\n[…]\n{report[-(REPORT_CHARS - 1_010) :]}"
