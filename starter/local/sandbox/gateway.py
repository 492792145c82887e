"""The door to the data plane: which sandbox a request is for, whether it may, and passing it on."""

import base64
import hashlib
import hmac
import re
import time
from urllib.parse import parse_qs

from starter.local.sandbox.channel import GuestGoneError
from starter.local.sandbox.fleet import Fleet
from starter.local.sandbox.forward import BrokenOffError, forward
from starter.local.sandbox.guest.asgi import Receive, Refused, Scope, Send, header, respond_json
from starter.local.sandbox.guest_process import BootError
from starter.local.sandbox.one_sandbox import NotRunningError, Sandbox, SandboxNotFoundError
from starter.local.sandbox.splice import Connection

DATA_PLANE_PORT = 49983
PREVIEW_HOST = re.compile(r"^(\d+)-([a-z0-9]+)\.")
OPERATIONS = {"GET": "read", "HEAD": "read", "POST": "write"}


class Gateway:
    """Passes requests on to sandboxes, by header, by host name or by signed address."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def wants(self, scope: Scope) -> bool:
        """Tell whether a request is for a sandbox and not for the control plane."""
        by_name = header(scope, b"e2b-sandbox-id") or PREVIEW_HOST.match(header(scope, b"host"))
        root = scope["path"].split("/")[1]
        return bool(by_name) or root in {"files", "process.Process", "filesystem.Filesystem"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, or refuse it as E2B's proxy does."""
        sandbox_id, port = self._addressed(scope)
        try:
            sandbox = self._fleet.find(sandbox_id)
            if port == DATA_PLANE_PORT:
                _authorize(sandbox, scope)
            else:
                _check_traffic(sandbox, scope)
            await self._fleet.wake_for_traffic(sandbox)
            await forward(await _connect(sandbox, port), scope, receive, send)
        except (SandboxNotFoundError, NotRunningError, GuestGoneError, BootError):
            await _refuse(send, sandbox_id, "The sandbox was not found")
        except ConnectionError:
            if self._is_running(sandbox_id):
                await _refuse(send, sandbox_id, "The sandbox is running but port is not open", port=port)
            else:
                await _refuse(send, sandbox_id, "The sandbox was not found")
        except Refused as refused:
            await respond_json(send, refused.status, {"code": refused.status, "message": refused.message})
        except BrokenOffError:
            # Returning within a response makes the server cut the connection, which is the truth.
            return

    def _is_running(self, sandbox_id: str) -> bool:
        try:
            self._fleet.find(sandbox_id).running_guest()
        except (SandboxNotFoundError, NotRunningError):
            return False
        return True

    def _addressed(self, scope: Scope) -> tuple[str, int]:
        if named := header(scope, b"e2b-sandbox-id"):
            asked = header(scope, b"e2b-sandbox-port")
            return named, int(asked) if asked.isdecimal() else DATA_PLANE_PORT
        if match := PREVIEW_HOST.match(header(scope, b"host")):
            return match[2], int(match[1])
        # An address signed by the SDK names no sandbox; only its sandbox's token makes its signature.
        signed = (record for record in self._fleet.records() if _is_signed(record.access_token, scope))
        return next((record.sandbox_id for record in signed), ""), DATA_PLANE_PORT


async def _connect(sandbox: Sandbox, port: int) -> Connection:
    guest = sandbox.running_guest()
    return await (guest.open_http() if port == DATA_PLANE_PORT else guest.open_port(port))


def _authorize(sandbox: Sandbox, scope: Scope) -> None:
    token = sandbox.record.access_token
    given = header(scope, b"x-access-token")
    if scope["path"] == "/health" or hmac.compare_digest(given.encode(), token.encode()):
        return
    if scope["path"] == "/files" and _is_signed(token, scope):
        return
    raise Refused(401, "The access token or the signature is missing, wrong or expired.")


def _check_traffic(sandbox: Sandbox, scope: Scope) -> None:
    token = sandbox.record.traffic_token
    given = header(scope, b"e2b-traffic-access-token")
    if token is not None and not hmac.compare_digest(given.encode(), token.encode()):
        raise Refused(403, "This sandbox's ports need its e2b-traffic-access-token; it is missing or wrong.")


def _is_signed(token: str, scope: Scope) -> bool:
    query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
    expiration = query.get("signature_expiration")
    if expiration is not None and (not expiration.isdecimal() or int(expiration) < time.time()):
        return False
    parts = [query.get("path", ""), OPERATIONS.get(scope["method"], ""), query.get("username", ""), token]
    text = ":".join([*parts, expiration] if expiration is not None else parts)
    wanted = base64.b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
    return hmac.compare_digest(b"v1_" + wanted, query.get("signature", "").encode())


async def _refuse(send: Send, sandbox_id: str, message: str, *, port: int | None = None) -> None:
    named = {"sandboxId": sandbox_id, "message": message, "code": 502}
    await respond_json(send, 502, named if port is None else {**named, "port": port})
