"""E2B's Process service over the table of processes; knows no HTTP."""

from collections.abc import AsyncIterator
from signal import Signals
from typing import Any

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.request import RequestContext
from e2b.envd.process.process_connect import Process
from e2b.envd.process.process_pb import (
    CloseStdinRequest,
    CloseStdinResponse,
    ConnectRequest,
    ConnectResponse,
    ListRequest,
    ListResponse,
    ProcessInput,
    ProcessSelector,
    SendInputRequest,
    SendInputResponse,
    SendSignalRequest,
    SendSignalResponse,
    Signal,
    StartRequest,
    StartResponse,
    StreamInputRequest,
    StreamInputResponse,
    UpdateRequest,
    UpdateResponse,
)
from protobuf import Oneof
from typing_extensions import override

from starter.local.sandbox.guest.paths import UnknownUserError, check_user, user_of_authorization
from starter.local.sandbox.guest.processes import ProcessTable, SandboxProcess, events_of
from starter.local.sandbox.guest.spawn import (
    DirectoryMissingError,
    ProgramMissingError,
    Surroundings,
    resize,
    spawn,
)

KEEPALIVE_SECONDS = 50.0
Context = RequestContext[Any, Any]
SIGNALS = {Signal.SIGTERM: Signals.SIGTERM, Signal.SIGKILL: Signals.SIGKILL}


class ProcessService(Process):
    """Start, follow, feed and signal processes."""

    def __init__(self, table: ProcessTable, *, surroundings: Surroundings) -> None:
        self._table = table
        self._surroundings = surroundings

    @override
    async def list(
        self, request: ListRequest, ctx: RequestContext[ListRequest, ListResponse], /
    ) -> ListResponse:
        return ListResponse(processes=[process.info() for process in self._table.running()])

    @override
    async def start(
        self, request: StartRequest, ctx: RequestContext[StartRequest, StartResponse], /
    ) -> AsyncIterator[StartResponse]:
        seconds = _seconds_left(ctx)
        try:
            user = requested_user(ctx)
            with self._table.starting():
                process = await spawn(request, user=user, surroundings=self._surroundings)
                self._table.add(process, seconds=seconds)
        except (DirectoryMissingError, ProgramMissingError) as error:
            raise ConnectError(Code.INVALID_ARGUMENT, str(error)) from error
        try:
            async for event in events_of(process, seconds=seconds, keepalive=_keepalive(ctx)):
                yield StartResponse(event=event)
        except TimeoutError:
            raise ConnectError(Code.DEADLINE_EXCEEDED, "context deadline exceeded") from None

    @override
    async def connect(
        self, request: ConnectRequest, ctx: RequestContext[ConnectRequest, ConnectResponse], /
    ) -> AsyncIterator[ConnectResponse]:
        process = self._find(request.process)
        try:
            async for event in events_of(process, seconds=_seconds_left(ctx), keepalive=_keepalive(ctx)):
                yield ConnectResponse(event=event)
        except TimeoutError:
            raise ConnectError(Code.DEADLINE_EXCEEDED, "context deadline exceeded") from None

    @override
    async def update(
        self, request: UpdateRequest, ctx: RequestContext[UpdateRequest, UpdateResponse], /
    ) -> UpdateResponse:
        process = self._find(request.process)
        if process.terminal is None:
            raise ConnectError(Code.FAILED_PRECONDITION, f"process {process.pid} has no terminal")
        if request.pty is not None and request.pty.size is not None:
            resize(process.terminal, request.pty.size)
        return UpdateResponse()

    @override
    async def send_input(
        self, request: SendInputRequest, ctx: RequestContext[SendInputRequest, SendInputResponse], /
    ) -> SendInputResponse:
        await _feed(self._find(request.process), request.input)
        return SendInputResponse()

    @override
    async def stream_input(
        self,
        request: AsyncIterator[StreamInputRequest],
        ctx: RequestContext[StreamInputRequest, StreamInputResponse],
        /,
    ) -> StreamInputResponse:
        process: SandboxProcess | None = None
        async for message in request:
            match message.event:
                case Oneof(field="start", value=StreamInputRequest.StartEvent() as start):
                    process = self._find(start.process)
                case Oneof(field="data", value=StreamInputRequest.DataEvent() as data) if process:
                    await _feed(process, data.input)
                case _:
                    pass
        return StreamInputResponse()

    @override
    async def send_signal(
        self, request: SendSignalRequest, ctx: RequestContext[SendSignalRequest, SendSignalResponse], /
    ) -> SendSignalResponse:
        number = SIGNALS.get(request.signal)
        if number is None:
            raise ConnectError(Code.INVALID_ARGUMENT, f"unsupported signal {request.signal!r}")
        process = self._find(request.process)
        try:
            process.send_signal(number)
        except ProcessLookupError as error:
            raise _not_found(request.process) from error
        return SendSignalResponse()

    @override
    async def close_stdin(
        self, request: CloseStdinRequest, ctx: RequestContext[CloseStdinRequest, CloseStdinResponse], /
    ) -> CloseStdinResponse:
        self._find(request.process).close_input()
        return CloseStdinResponse()

    def _find(self, selector: ProcessSelector | None) -> SandboxProcess:
        found = None
        match selector and selector.selector:
            case Oneof(field="pid", value=int() as pid):
                found = self._table.find(pid=pid)
            case Oneof(field="tag", value=str() as tag):
                found = self._table.find(tag=tag)
            case _:
                pass
        if found is None:
            raise _not_found(selector)
        return found


def _not_found(selector: ProcessSelector | None) -> ConnectError:
    named = selector.selector.value if selector is not None and selector.selector is not None else None
    return ConnectError(Code.NOT_FOUND, f"process with selector {named!r} not found")


async def _feed(process: SandboxProcess, given: ProcessInput | None) -> None:
    if given is None or given.input is None:
        return
    try:
        await process.write(given.input.value)
    except OSError as error:
        raise ConnectError(Code.FAILED_PRECONDITION, f"process {process.pid}: {error}") from error


def requested_user(ctx: Context) -> str:
    """Return the user a request runs as.

    Raises:
        ConnectError: the sandbox has no such user.

    """
    try:
        return check_user(user_of_authorization(ctx.request_headers.get("authorization", "")))
    except UnknownUserError as error:
        raise ConnectError(Code.UNAUTHENTICATED, str(error)) from error


def _seconds_left(ctx: Context) -> float | None:
    left = ctx.timeout_ms
    return None if left is None else left / 1000


def _keepalive(ctx: Context) -> float:
    asked = ctx.request_headers.get("keepalive-ping-interval", "")
    return float(asked) if asked.isdecimal() and int(asked) else KEEPALIVE_SECONDS
