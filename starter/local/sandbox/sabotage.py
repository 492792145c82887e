"""Lets the faults happen, to the requests that pass or at once to sandboxes. Decides no order."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta

from starter.local.sandbox.copies import copy_files
from starter.local.sandbox.faults import Asked, Fault, Faults
from starter.local.sandbox.fleet import Fleet
from starter.local.sandbox.guest.asgi import Receive, Scope, Send, header, respond
from starter.local.sandbox.one_sandbox import Sandbox, SandboxNotFoundError
from starter.local.sandbox.records import like

STATUS = {"bad_gateway": (502, "Bad Gateway"), "server_error": (500, "Internal server error")}
NAMED = re.compile(r"^(?:/v2)?/sandboxes/([^/]+)")


class _Cut(Exception):
    """The answer ends here."""


class Saboteur:
    """Stands before an application and lets the faults happen to its requests."""

    def __init__(
        self, app: Callable[[Scope, Receive, Send], Awaitable[None]], faults: Faults, fleet: Fleet
    ) -> None:
        self._app = app
        self._faults = faults
        self._fleet = fleet

    async def __call__(self, scope: Scope, receive: Receive, send: Send, *, is_data_plane: bool) -> None:
        """Pass one request on, harmed or not."""
        asked = Asked(_sandbox_of(scope), scope["path"], is_data_plane)
        exempt = asked.path.startswith(("/_control", "/health"))
        fault = None if exempt else self._faults.take(asked)
        if fault is None:
            await self._app(scope, receive, send)
            return
        try:
            await self._harm(fault, asked, (scope, receive, send))
        except _Cut:
            # Returning within a response makes the server cut the connection.
            return

    async def _harm(self, fault: Fault, asked: Asked, call: tuple[Scope, Receive, Send]) -> None:
        scope, receive, send = call
        match fault.kind:
            case "bad_gateway" | "server_error":
                await _drain(receive)
                await _answer(send, *STATUS[fault.kind])
            case "rate_limit":
                await _drain(receive)
                retry = (b"retry-after", f"{fault.seconds:g}".encode())
                await _answer(send, 429, "Rate limit exceeded, please try again later.", retry)
            case "lost_answer":
                await self._app(scope, receive, _nowhere)
                await _answer(send, 502, "Bad Gateway")
            case "drop":
                await self._app(scope, receive, _cut(send))
            case "stall":
                await self._app(scope, receive, _late(send, fault.seconds))
            case "killed":
                await self._app(scope, receive, self._killing(send, asked.sandbox_id))
            case "other_id":
                other = await _impersonate(self._fleet, asked.sandbox_id)
                path = asked.path.replace(asked.sandbox_id, other.record.sandbox_id)
                await self._app({**scope, "path": path}, receive, send)
            case _:
                await self._app(scope, receive, send)

    def _killing(self, send: Send, sandbox_id: str) -> Send:
        async def sent(message: dict[str, object]) -> None:
            await send(message)
            if message["type"] == "http.response.body" and message.get("body"):
                # The rest of the answer may come after the end.
                with suppress(SandboxNotFoundError):
                    await self._fleet.kill(sandbox_id)

        return _as_send(sent)


async def befall(fault: Fault, faults: Faults, fleet: Fleet) -> None:
    """Let a fault happen: at once to the sandboxes it names, or to the requests to come.

    Raises:
        SandboxNotFoundError: there is none of that id.

    """
    ids = [record.sandbox_id for record in fleet.records()] if fault.sandbox is None else [fault.sandbox]
    found = [fleet.find(sandbox_id) for sandbox_id in ids]
    match fault.kind:
        case "stale_files":
            for sandbox in found:
                await _make_stale(fleet, sandbox, times=fault.times)
        case "disk_full":
            for sandbox in found:
                await sandbox.fill_disk(seconds=fault.seconds)
        case "aged":
            for sandbox in found:
                await _age(fleet, sandbox, seconds=fault.seconds)
        case _:
            faults.add(fault)


async def _make_stale(fleet: Fleet, sandbox: Sandbox, *, times: int) -> None:
    async with sandbox.lock:
        sandbox.check_present()
        directory = fleet.directory(sandbox.record.sandbox_id)
        await copy_files(directory, sandbox.stale_files(directory))
        sandbox.stale_resumes = times


async def _age(fleet: Fleet, sandbox: Sandbox, *, seconds: float) -> None:
    async with sandbox.lock:
        record = sandbox.record
        record.run_began_at -= timedelta(seconds=seconds)
        record.end_at = min(record.end_at, record.run_began_at + fleet.limits.longest_run)
        if not sandbox.is_paused:
            fleet.arm(sandbox)


async def _impersonate(fleet: Fleet, sandbox_id: str) -> Sandbox:
    """Create another sandbox with the metadata of one and part of its files."""
    old = fleet.find(sandbox_id).record
    return await fleet.create(
        like(old, timeout=old.timeout), files=fleet.directory(sandbox_id), only_shown=True
    )


def _sandbox_of(scope: Scope) -> str:
    match = NAMED.match(scope["path"])
    return header(scope, b"e2b-sandbox-id") or (match[1] if match else "")


async def _drain(receive: Receive) -> None:
    # An answer given before the end of a request is lost when the connection closes on it.
    while (message := await receive())["type"] == "http.request" and message.get("more_body"):
        pass


async def _answer(send: Send, status: int, message: str, *headers: tuple[bytes, bytes]) -> None:
    body = json.dumps({"code": status, "message": message}).encode()
    await respond(send, status, body, headers=[(b"content-type", b"application/json"), *headers])


async def _nowhere(_message: object) -> None:
    return


def _cut(send: Send) -> Send:
    begun = streams = False

    async def sent(message: dict[str, object]) -> None:
        nonlocal begun, streams
        body = message.get("body", b"")
        assert isinstance(body, bytes)
        if message["type"] == "http.response.start":
            streams = "application/connect" in repr(message["headers"])
            await send(message)
        elif begun:
            raise _Cut
        else:
            # A stream ends after its first event, another answer in its midst.
            begun = True
            await send({**message, "body": body if streams else body[: len(body) // 2], "more_body": True})

    return _as_send(sent)


def _late(send: Send, seconds: float) -> Send:
    async def sent(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            await asyncio.sleep(seconds)
        await send(message)

    return _as_send(sent)


def _as_send(sent: Callable[[dict[str, object]], Awaitable[None]]) -> Send:
    return sent  # pyright: ignore[reportReturnType] -- ASGI's messages are plain dictionaries
