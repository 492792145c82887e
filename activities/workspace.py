"""The runner in a sandbox, as its callers see it: one JSON question, one JSON answer.

Owns where the runner lies, how a request reaches it and how its failures are told apart. Knows nothing
of what the commands mean, nor of the provider behind `SandboxClient`.
"""

import hashlib
import json
import shlex
import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from temporalio.exceptions import ApplicationError

from activities.failures import DiskFull
from activities.sandbox_client import Output, SandboxClient
from workflows.errors import FailureType
from workflows.files import SandboxRef

Answer = dict[str, Any]
"""What the runner printed; its shape is the command's."""

QUICK: Final = timedelta(seconds=60)
"""How long a command may take that neither runs the model's commands nor moves packs."""
STATE_FOLDER: Final = ".nightshift"
"""Under the home directory: the runner and its state, never part of a snapshot."""
MAX_LINE_BYTES: Final = 120_000
"""The longest command line that holds a request; Linux takes an argument of 128 KiB."""
_PASSING: Final = frozenset({"os", "disk_full", "too_many_files", "unkillable", "download"})
"""Kinds of a runner's fault that lie in the sandbox or on the way; the others are bugs of ours."""
_RUNNER_MISSING: Final = 66
"""Exit code of the command line below when the runner's file is not there."""


class RunnerFault(ApplicationError):
    """The runner answered that it could not do what was asked."""

    def __init__(self, kind: str, message: str, *, begun: bool = False) -> None:
        passing = kind in _PASSING
        fault = FailureType.RETRYABLE if passing else "RunnerFault"
        super().__init__(f"{message} ({kind})", type=fault, non_retryable=not passing)
        self.kind = kind
        """The runner's name of the fault."""
        self.begun = begun
        """A part of what was asked may have taken effect."""


class Workspace:
    """The files and commands of any sandbox, through the runner."""

    def __init__(self, client: SandboxClient, *, runner: bytes) -> None:
        self.client = client
        """The provider behind it."""
        self._runner = runner
        self._name = f"runner-{hashlib.sha256(runner).hexdigest()[:12]}.pyz"

    async def ask(
        self, sandbox: SandboxRef, command: str, payload: Mapping[str, Any], *, within: timedelta = QUICK
    ) -> Answer:
        """Run one runner command and give its answer.

        Raises RunnerFault, SandboxLost, or the provider's passing fault. Asking again after any failure is
        safe: `call` is at most once by its claim, the other commands are idempotent.
        """
        request = {
            "home": sandbox.home,
            "workspace": sandbox.workspace,
            "generation": sandbox.generation,
            **payload,
        }
        line = await self._hand_over(sandbox, command, json.dumps(request))
        output = await self.client.run(sandbox.sandbox_id, line, within=within)
        if output.exit_code == _RUNNER_MISSING:
            await self.ship(sandbox)
            return await self.ask(sandbox, command, payload, within=within)
        return self._read(sandbox, command, output)

    def _read(self, sandbox: SandboxRef, command: str, output: Output) -> Answer:
        """Read the last line of what the runner printed; a sandbox whose runner never answers is lost."""
        lines = output.stdout.strip().splitlines()
        try:
            answer: Answer = json.loads(lines[-1]) if lines else {}
        except ValueError:
            answer = {}
        if not answer:
            said = f"(exit code {output.exit_code}): {output.stderr[-500:]!r}"
            raise self.client.silent(sandbox.sandbox_id, f"its runner gave no answer to {command!r} {said}")
        if fault := answer.get("error"):
            kind, message = str(fault.get("kind")), str(fault.get("message"))
            raise RunnerFault(kind, message, begun=bool(fault.get("begun")))
        return answer

    async def _hand_over(self, sandbox: SandboxRef, command: str, request: str) -> str:
        """Put a request into the sandbox and give the line that runs it, with it inside on a full disk."""
        path = f"{sandbox.home}/{STATE_FOLDER}/requests/{uuid.uuid4().hex}"
        try:
            await self.client.write(sandbox.sandbox_id, path, request.encode())
        except DiskFull as full:
            line = self._line_with(sandbox.home, command, path, request)
            if len(line.encode()) > MAX_LINE_BYTES:
                raise RunnerFault("disk_full", full.message) from None
            return line
        return self._command_line(sandbox.home, command, path)

    async def ship(self, sandbox: SandboxRef) -> Answer:
        """Put the runner into the sandbox, beside older ones, and give what its `probe` found."""
        path = self._runner_path(sandbox.home)
        staged = f"{path}.{uuid.uuid4().hex}"
        await self.write(sandbox, staged, self._runner)
        folder = shlex.quote(f"{sandbox.home}/{STATE_FOLDER}")
        move = f"mv -f {shlex.quote(staged)} {shlex.quote(path)} && chmod -R go= {folder}"
        await self.client.run(sandbox.sandbox_id, move, within=QUICK)
        return await self.ask(sandbox, "probe", {})

    async def write(self, sandbox: SandboxRef, path: str, data: bytes) -> None:
        """Write a file into the sandbox; raises RunnerFault `disk_full`, which is final where it stays so."""
        try:
            await self.client.write(sandbox.sandbox_id, path, data)
        except DiskFull as full:
            raise RunnerFault("disk_full", full.message) from None

    def _runner_path(self, home: str) -> str:
        return f"{home}/{STATE_FOLDER}/{self._name}"

    def _command_line(self, home: str, command: str, request: str) -> str:
        """Feed the request by stdin and unlink it first: it may hold signed URLs or a founder's secret."""
        runner, path = shlex.quote(self._runner_path(home)), shlex.quote(request)
        return (
            f"[ -f {runner} ] || {{ rm -f {path}; exit {_RUNNER_MISSING}; }}; "
            f"exec 3<{path} && rm -f {path} && exec python3 -I -S {runner} {shlex.quote(command)} <&3 3<&-"
        )

    def _line_with(self, home: str, command: str, path: str, request: str) -> str:
        """Feed a request that the disk could not take; others may see it until the runner runs."""
        runner = shlex.quote(self._runner_path(home))
        return (
            f"rm -f {shlex.quote(path)}; [ -f {runner} ] || exit {_RUNNER_MISSING}; "
            f"exec 3< <(printf %s {shlex.quote(request)}) && "
            f"exec python3 -I -S {runner} {shlex.quote(command)} <&3 3<&-"
        )
