"""E2B's control plane: the REST routes of sandboxes, and two of our own. Holds no state."""

import hmac
import json
import os
import secrets
from collections.abc import Awaitable, Callable

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from starter.local.sandbox.bodies import NewSandbox, Pause, Timeout
from starter.local.sandbox.faults import Fault, Faults
from starter.local.sandbox.fleet import AlreadyPausedError, Fleet
from starter.local.sandbox.guest_process import BootError
from starter.local.sandbox.limits import TooManyError
from starter.local.sandbox.listing import page_of
from starter.local.sandbox.one_sandbox import SandboxNotFoundError
from starter.local.sandbox.records import Record, new_record
from starter.local.sandbox.sabotage import befall
from starter.local.sandbox.snapshots import Snapshots

ENVD_VERSION = "0.6.13"

TOO_MANY = 429
STATUS_OF: dict[type[Exception], int] = {
    SandboxNotFoundError: 404,
    AlreadyPausedError: 409,
    TooManyError: TOO_MANY,
    ValueError: 400,
    BootError: 500,
}
REFUSED: tuple[type[Exception], ...] = tuple(STATUS_OF)

Handler = Callable[[Request], Awaitable[Response]]


class Control:
    """The control plane over a fleet."""

    def __init__(
        self, fleet: Fleet, faults: Faults, snapshots: Snapshots, *, api_key: str, domain: str
    ) -> None:
        self._fleet = fleet
        self._snapshots = snapshots
        self._faults = faults
        self._api_key = api_key
        self._domain = domain

    def app(self) -> Starlette:
        """Return the routes, each also under the prefixes that other versions of the SDK use."""
        one = "/sandboxes/{sandbox_id}"
        table: list[tuple[str, str, Handler]] = [
            ("POST", "/sandboxes", self._create),
            ("GET", "/sandboxes", self._list),
            ("GET", one, self._get),
            ("DELETE", one, self._kill),
            ("POST", f"{one}/connect", self._connect),
            ("POST", f"{one}/resume", self._connect),
            ("POST", f"{one}/pause", self._pause),
            ("POST", f"{one}/timeout", self._set_timeout),
            ("GET", f"{one}/metrics", self._metrics),
            ("GET", f"{one}/preview/{{port:int}}", self._preview),
            ("POST", "/_control/faults", self._set_fault),
            ("GET", "/_control/faults", self._show_faults),
            ("DELETE", "/_control/faults", self._clear_faults),
            ("POST", f"{one}/fork", self._fork),
            ("POST", f"{one}/snapshots", self._snapshots.create),
            ("GET", "/snapshots", self._snapshots.show),
            ("DELETE", "/templates/{template_id}", self._snapshots.delete),
            ("PUT", f"{one}/network", _unsupported),
        ]
        routes = [
            Route(prefix + path, self._guarded(handler), methods=[method])
            for method, path, handler in table
            for prefix in ("", "/v2")
        ]
        return Starlette(
            routes=[Route("/healthz", self._health), *routes], exception_handlers={404: _missing}
        )

    def _guarded(self, handler: Handler) -> Handler:
        async def endpoint(request: Request) -> Response:
            given = request.headers.get("x-api-key", "")
            if not hmac.compare_digest(given.encode(), self._api_key.encode()):
                return _error(401, "The API key is missing or wrong; it is the E2B_API_KEY of this stack.")
            try:
                return await handler(request)
            except REFUSED as error:
                status = next(code for kind, code in STATUS_OF.items() if isinstance(error, kind))
                text = _named(error) if isinstance(error, ValidationError) else str(error)
                return _error(status, text, {"retry-after": "1"} if status == TOO_MANY else None)

        return endpoint

    async def _health(self, _request: Request) -> Response:
        return JSONResponse({"ok": True, "isolated": self._fleet.isolated})

    async def _set_fault(self, request: Request) -> Response:
        await befall(Fault.model_validate_json(await request.body()), self._faults, self._fleet)
        return await self._show_faults(request)

    async def _show_faults(self, _request: Request) -> Response:
        return JSONResponse([fault.model_dump() for fault in self._faults.pending()])

    async def _clear_faults(self, request: Request) -> Response:
        self._faults.clear()
        return await self._show_faults(request)

    async def _create(self, request: Request) -> Response:
        body = NewSandbox.model_validate_json(await request.body())
        body.refuse_unsupported()
        self._check_timeout(body.timeout)
        record = new_record(
            body.template_id,
            timeout=body.timeout,
            idempotency_key=request.headers.get("idempotency-key"),
            metadata=body.metadata,
            environment=body.env_vars,
            pause_on_timeout=body.auto_pause,
            keep_memory_on_timeout=body.auto_pause_memory,
            auto_resume=body.auto_resume is not None and body.auto_resume.enabled,
            internet=body.allow_internet_access is not False,
            traffic_token=None if body.is_public else secrets.token_hex(16),
        )
        sandbox = await self._fleet.create(record, files=self._snapshots.files_of(body.template_id))
        return JSONResponse(self._session(sandbox.record), 201)

    async def _connect(self, request: Request) -> Response:
        body = Timeout.model_validate_json(await request.body() or b"{}")
        self._check_timeout(body.timeout)
        sandbox_id = request.path_params["sandbox_id"]
        resumed = await self._fleet.connect(sandbox_id, seconds=body.timeout)
        return JSONResponse(self._session(self._fleet.find(sandbox_id).record), 201 if resumed else 200)

    async def _fork(self, request: Request) -> Response:
        made = await self._snapshots.fork(request.path_params["sandbox_id"], await request.body())
        shown = [
            {"sandbox": self._session(one)}
            if isinstance(one, Record)
            else {"error": {"code": TOO_MANY, "message": str(one)}}
            for one in made
        ]
        return JSONResponse(shown, 201)

    async def _pause(self, request: Request) -> Response:
        body = Pause.model_validate_json(await request.body() or b"{}")
        await self._fleet.pause(request.path_params["sandbox_id"], keep_memory=body.memory)
        return Response(status_code=204)

    async def _set_timeout(self, request: Request) -> Response:
        body = Timeout.model_validate_json(await request.body())
        self._check_timeout(body.timeout)
        await self._fleet.set_timeout(request.path_params["sandbox_id"], seconds=body.timeout)
        return Response(status_code=204)

    def _check_timeout(self, seconds: int) -> None:
        longest = self._fleet.limits.longest_run
        if seconds > longest.total_seconds():
            raise ValueError(f"timeout: {seconds} s is more than the longest run without a pause, {longest}.")

    async def _kill(self, request: Request) -> Response:
        await self._fleet.kill(request.path_params["sandbox_id"])
        return Response(status_code=204)

    async def _get(self, request: Request) -> Response:
        return JSONResponse(self._detail(self._fleet.find(request.path_params["sandbox_id"]).record))

    async def _metrics(self, request: Request) -> Response:
        self._fleet.find(request.path_params["sandbox_id"])
        return JSONResponse([])

    async def _preview(self, request: Request) -> Response:
        port = await self._fleet.preview(request.path_params["sandbox_id"], port=request.path_params["port"])
        return JSONResponse({"url": f"http://127.0.0.1:{port}"})

    async def _list(self, request: Request) -> Response:
        page, token = page_of(self._fleet.records(), request.query_params)
        more = {"x-next-token": token} if token else {}
        return JSONResponse([self._detail(record) for record in page], headers=more)

    def _session(self, record: Record) -> dict[str, object]:
        return {
            "templateID": record.template_id,
            "sandboxID": record.sandbox_id,
            "clientID": "local",
            "envdVersion": ENVD_VERSION,
            "envdAccessToken": record.access_token,
            "trafficAccessToken": record.traffic_token,
            "domain": self._domain,
        }

    def _detail(self, record: Record) -> dict[str, object]:
        return {
            **self._session(record),
            "alias": record.template_id,
            "startedAt": record.run_began_at.isoformat(),
            "endAt": record.end_at.isoformat(),
            "state": record.state,
            "cpuCount": os.cpu_count() or 1,
            "memoryMB": self._fleet.limits.memory_mb,
            "diskSizeMB": self._fleet.limits.disk_mb,
            "metadata": record.metadata,
            "allowInternetAccess": record.internet,
            "lifecycle": {
                "onTimeout": "pause" if record.pause_on_timeout else "kill",
                "autoResume": record.auto_resume,
            },
        }


def _named(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors())


def _error(code: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"code": code, "message": message}, code, headers=headers)


async def _unsupported(request: Request) -> Response:
    return _error(
        501, f"The local sandbox does not do {request.url.path.rpartition('/')[2]}; E2B's own does."
    )


async def _missing(_request: Request, _exception: Exception) -> Response:
    text = json.dumps({"code": 404, "message": "The local sandbox server has no such route."})
    return Response(text, 404, media_type="application/json")
