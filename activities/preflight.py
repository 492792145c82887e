"""The first look at a new sandbox, with nothing but a shell: whether Nightshift can work in its template."""

from typing import Final

from temporalio.exceptions import ApplicationError

from activities.sandbox_client import Output, SandboxClient
from activities.workspace import QUICK
from workflows.errors import FailureType

_OLDEST_PYTHON: Final = (3, 8)
_PREFLIGHT: Final = (
    'printf "%s\\n" "$HOME"; command -v bash >/dev/null || echo missing bash; '
    "python3 -c 'import sys; print(*sys.version_info[:2])' 2>/dev/null || echo missing python3"
)


async def preflight(client: SandboxClient, sandbox_id: str) -> str:
    """Ask for the home directory with nothing but a shell; raises InvalidTemplate with the fix."""
    try:
        output = await client.run(sandbox_id, _PREFLIGHT, within=QUICK)
    except ApplicationError as error:
        if error.non_retryable and error.type != FailureType.SANDBOX_LOST:
            raise invalid_template(f"no command runs in it ({error.message})", "/bin/bash") from None
        raise
    return _home_in(output)


def _home_in(output: Output) -> str:
    lines = output.stdout.split("\n")
    home = lines[0].strip()
    if "missing bash" in lines:
        raise invalid_template("it has no bash", "bash")
    if "missing python3" in lines:
        raise invalid_template("it has no python3", "python3 (3.8 or newer)")
    version = tuple(int(part) for part in lines[1].split())
    if version < _OLDEST_PYTHON:
        raise invalid_template(f"its python3 is {'.'.join(map(str, version))}", "python3 (3.8 or newer)")
    if not home.startswith("/"):
        raise invalid_template(f"its home directory is {home!r}", "a user with a home directory")
    return home


def invalid_template(what: str, fix: str) -> ApplicationError:
    """Make the failure of a template that cannot be used: what is wrong, and what to choose."""
    return ApplicationError(
        f"The sandbox template cannot be used: {what}. Set E2B_TEMPLATE to a template with {fix}.",
        type=FailureType.INVALID_TEMPLATE,
        non_retryable=True,
    )
