"""The provider's edge: sandboxes made, resumed, paused, killed; commands and files in them.

The only module that speaks to the E2B SDK. Knows nothing of builds, generations or the runner.
A sandbox that is gone is always `SandboxLost`; a fault that may pass is the provider's and is retried.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from e2b import (
    AsyncSandbox,
    CommandExitException,
    FileNotFoundException,
    SandboxException,
    SandboxInfo,
    SandboxNotFoundException,
    SandboxQuery,
    SandboxState,
)
from e2b.connection_config import ApiParams
from e2b.exceptions import SandboxNotRunningException, SandboxUnreachableException, TimeoutException
from temporalio.exceptions import ApplicationError

from activities.failures import classify, lost
from activities.heartbeat import attend
from activities.local_preview import local_preview
from activities.pace import Pace
from activities.sandbox_failures import answered
from activities.settings import Settings
from activities.silences import Silences
from workflows.errors import FailureType

GRACE: Final = timedelta(seconds=30)
"""How much longer than the command itself the SDK is waited for before it counts as hung."""
MARGIN: Final = timedelta(minutes=5)
"""The session outlives a command by at least this, so that no timeout pauses it midway."""
MAX_SILENCES: Final = 4
"""How often a sandbox leaves an activity without an answer until it counts as lost."""
CREATION_SPACING: Final = timedelta(seconds=0.2)
"""What lies at least between two creations of this worker: E2B allows 5 a second, and says 429 beyond."""

Lengthened = Callable[[str, timedelta], Awaitable[None]]
"""Is told how long a running sandbox lives from now on."""


class Output(NamedTuple):
    """What a command printed."""

    exit_code: int
    stdout: str
    stderr: str


class Listed(NamedTuple):
    """A sandbox as the provider lists it."""

    sandbox_id: str
    metadata: dict[str, str]
    started_at: datetime


@dataclass
class _Handle:
    sandbox: AsyncSandbox
    end_at: datetime


class SandboxClient:
    """One account of the sandbox provider."""

    def __init__(
        self, settings: Settings, *, grace: timedelta = GRACE, lengthened: Lengthened | None = None
    ) -> None:
        self._settings = settings
        self._lengthened = lengthened
        self._grace = grace
        self._handles: dict[str, _Handle] = {}
        self._api = _api_params(settings)
        self._creations = Pace(CREATION_SPACING)
        self._silences = Silences()

    async def create(self, key: str, *, metadata: dict[str, str]) -> str:
        """Create a sandbox once per key and give its id; creations follow one another at a distance."""
        await self._creations.wait()
        async with self._guarded(""):
            sandbox = await AsyncSandbox.create(
                template=self._settings.e2b_template or None,
                timeout=int(self._settings.sandbox_session.total_seconds()),
                metadata=metadata,
                lifecycle={"on_timeout": "pause", "auto_resume": False},
                idempotency_key=key,
                **self._api,
            )
        self._keep(sandbox, datetime.now(UTC) + self._settings.sandbox_session)
        return sandbox.sandbox_id

    async def all(self, metadata: dict[str, str]) -> list[Listed]:
        """List the running and paused sandboxes with this metadata."""
        found: list[Listed] = []
        async with self._guarded("", within=timedelta(minutes=5)):
            pages = AsyncSandbox.list(query=SandboxQuery(metadata=metadata), limit=100, **self._api)
            while pages.has_next:
                page = await pages.next_items()
                found += [Listed(each.sandbox_id, dict(each.metadata), each.started_at) for each in page]
        return found

    async def find(self, metadata: dict[str, str]) -> Listed | None:
        """Find a running or paused sandbox by its metadata."""
        return next(iter(await self.all(metadata)), None)

    async def is_running(self, sandbox_id: str) -> bool:
        """Tell whether the provider calls it running; false when paused or gone."""
        return await self._end_of(sandbox_id) is not None

    async def _end_of(self, sandbox_id: str) -> datetime | None:
        """Ask when the provider ends a running sandbox; none when it is paused or gone."""
        info = await self._look_up(sandbox_id)
        return info.end_at if info and info.state == SandboxState.RUNNING else None

    async def exists(self, sandbox_id: str) -> bool:
        """Tell whether the provider still knows it, running or paused."""
        async with self._guarded(""):
            return await self._look_up(sandbox_id) is not None

    async def _look_up(self, sandbox_id: str) -> SandboxInfo | None:
        """Give what the provider says of a sandbox; none when it is gone."""
        try:
            async with asyncio.timeout(GRACE.total_seconds()):
                return await AsyncSandbox.get_info(sandbox_id, **self._api)
        except SandboxNotFoundException:
            return None

    async def resume(self, sandbox_id: str) -> str:
        """Resume or lengthen a sandbox and give the id that the provider answered with.

        Raises SandboxLost when the provider does not know it.
        """
        self._handles.pop(sandbox_id, None)
        async with self._guarded(sandbox_id):
            timeout = int(self._settings.sandbox_session.total_seconds())
            sandbox = await AsyncSandbox.connect(sandbox_id, timeout=timeout, **self._api)
        self._keep(sandbox, datetime.now(UTC) + self._settings.sandbox_session)
        return sandbox.sandbox_id

    async def pause(self, sandbox_id: str) -> None:
        """Pause it; one that is paused already is no failure. Raises SandboxLost when it is gone."""
        self._handles.pop(sandbox_id, None)
        try:
            async with self._guarded(sandbox_id, within=4 * self._grace):
                await AsyncSandbox.pause(sandbox_id, **self._api)
        except ApplicationError as error:
            # A large one may be paused only after its request was given up.
            info = await self._look_up(sandbox_id) if error.type == FailureType.SANDBOX_LOST else None
            if info is None or info.state != SandboxState.PAUSED:
                raise

    async def kill(self, sandbox_id: str) -> None:
        """Kill it; one that is gone is no failure."""
        self._handles.pop(sandbox_id, None)
        async with self._guarded(""):
            await AsyncSandbox.kill(sandbox_id, **self._api)

    async def lasts(self, sandbox_id: str, needed: timedelta) -> timedelta:
        """Lengthen the session where it is shorter than needed, and give how long it lasts.

        Less than needed: the provider ends its longest continuous run before. Raises SandboxLost.
        """
        # Just what is needed would be less by the time that it is asked.
        await self._attach(sandbox_id, needed=needed + MARGIN)
        return self._handles[sandbox_id].end_at - datetime.now(UTC)

    async def run(self, sandbox_id: str, command: str, *, within: timedelta) -> Output:
        """Run a command line in a login shell; a non-zero exit code is an answer, not an error.

        Raises SandboxLost.
        """
        sandbox = await self._attach(sandbox_id, needed=within + MARGIN)
        async with self._guarded(sandbox_id, within=within + 2 * self._grace):
            try:
                result = await sandbox.commands.run(command, timeout=(within + self._grace).total_seconds())
            except CommandExitException as error:
                return Output(error.exit_code, error.stdout, error.stderr)
        return Output(result.exit_code, result.stdout, result.stderr)

    async def read(self, sandbox_id: str, path: str) -> bytes:
        """Read a whole file. Raises SandboxLost, FileNotFoundError."""
        sandbox = await self._attach(sandbox_id, needed=MARGIN)
        async with self._guarded(sandbox_id, within=timedelta(minutes=10)):
            try:
                return bytes(await sandbox.files.read(path, format="bytes"))
            except FileNotFoundException:
                raise FileNotFoundError(f"The sandbox has no file {path!r}.") from None

    async def write(self, sandbox_id: str, path: str, data: bytes) -> None:
        """Write a whole file; a reader may see it half-written. Raises SandboxLost, DiskFull."""
        sandbox = await self._attach(sandbox_id, needed=MARGIN)
        async with self._guarded(sandbox_id, within=timedelta(minutes=10)):
            await sandbox.files.write(path, data)  # pyright: ignore[reportUnknownMemberType] the SDK's IO is bare

    async def preview_url(self, sandbox_id: str, port: int) -> str:
        """Give the address at which a port of the sandbox is seen from outside. Raises SandboxLost."""
        if not self._settings.local_sandbox:
            return f"https://{(await self._attach(sandbox_id, needed=MARGIN)).get_host(port)}"
        async with self._guarded(sandbox_id):
            if url := await local_preview(self._settings, sandbox_id, port):
                return url
        raise lost(sandbox_id, "the provider does not know it")

    def _keep(self, sandbox: AsyncSandbox, end_at: datetime) -> AsyncSandbox:
        self._handles[sandbox.sandbox_id] = _Handle(sandbox, end_at)
        return sandbox

    async def _attach(self, sandbox_id: str, *, needed: timedelta) -> AsyncSandbox:
        """Give a handle on a running sandbox whose session lasts `needed`, or as long as it may.

        A paused one is not resumed: a pause that nobody planned may have lost files.
        """
        handle = self._handles.get(sandbox_id)
        if handle and handle.end_at - datetime.now(UTC) >= needed:
            return handle.sandbox
        longest = timedelta(seconds=self._settings.sandbox_longest_run_seconds)
        seconds = int(min(max(self._settings.sandbox_session, needed), longest).total_seconds())
        async with self._guarded(sandbox_id):
            if await self._end_of(sandbox_id) is None:
                raise lost(sandbox_id, "it is not running")
            # On a running sandbox a connect only lengthens, silently no further than the longest run.
            sandbox = await AsyncSandbox.connect(sandbox_id, timeout=seconds, **self._api)
            if sandbox.sandbox_id != sandbox_id:
                with suppress(ApplicationError):  # the sweep comes for it, too
                    await self.kill(sandbox.sandbox_id)
                raise lost(sandbox_id, f"the provider answered with another one, {sandbox.sandbox_id}")
            end_at = await self._end_of(sandbox_id)
            if end_at is None:
                raise lost(sandbox_id, "it is not running")
        if self._lengthened is not None:
            await self._lengthened(sandbox_id, end_at - datetime.now(UTC))
        return self._keep(sandbox, end_at)

    @asynccontextmanager
    async def _guarded(self, sandbox_id: str, *, within: timedelta = 4 * GRACE) -> AsyncGenerator[None]:
        """Bound a call, as the SDK may hang, and turn the vendor's exceptions into ours."""
        await attend()
        try:
            async with asyncio.timeout(within.total_seconds()):
                yield
        except (ApplicationError, FileNotFoundError):
            raise
        except (SandboxNotRunningException, SandboxNotFoundException):
            self._handles.pop(sandbox_id, None)
            raise lost(sandbox_id, "it was killed, paused or never there") from None
        except (SandboxUnreachableException, TimeoutException, TimeoutError) as error:
            raise await self._unreachable(sandbox_id, error) from None
        except SandboxException as error:
            raise await self._refused(sandbox_id, error) from None
        except Exception as error:  # noqa: BLE001 the boundary: the table in failures.py decides
            raise classify(error) from None

    async def _refused(self, sandbox_id: str, error: SandboxException) -> Exception:
        """Judge an answer that was a fault; the SDK names no status where a sandbox or its proxy gave it."""
        if type(error) is SandboxException and error.status_code is None:
            return await self._unreachable(sandbox_id, error)
        return answered(error)

    async def _unreachable(self, sandbox_id: str, error: Exception) -> ApplicationError:
        """Judge a dropped or hung connection: retried while the provider calls the sandbox running."""
        self._handles.pop(sandbox_id, None)
        if not sandbox_id:
            return classify(error)
        try:
            running = await self.is_running(sandbox_id)
        except Exception as probe:  # noqa: BLE001 whatever the vendor raises is classified
            return classify(probe)
        if not running:
            return lost(sandbox_id, "it stopped while it was used")
        return self.silent(sandbox_id, "it is said to run but does not answer")

    def silent(self, sandbox_id: str, told: str) -> ApplicationError:
        """Judge a running sandbox that did not answer: retried, and lost once an activity met it so often.

        What failed for another reason does not count; each worker counts what it met itself.
        """
        if self._silences.count(sandbox_id) >= MAX_SILENCES:
            return lost(sandbox_id, told)
        text = f"Sandbox {sandbox_id}: {told}; it is asked again."
        return ApplicationError(text, type=FailureType.RETRYABLE)


def _api_params(settings: Settings) -> ApiParams:
    """Give the SDK its parameters by argument: its own environment variables are not ours to read."""
    given: dict[str, Any] = {
        "api_key": settings.e2b_api_key.get_secret_value(),
        "api_url": settings.e2b_api_url or None,
        "sandbox_url": settings.e2b_sandbox_url or None,
        "retries": 0,
    }
    return ApiParams(**{name: value for name, value in given.items() if value is not None})
