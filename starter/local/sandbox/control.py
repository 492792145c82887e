"""E2B's control plane: the REST routes of sandboxes, and some of our own. Holds no state."""

import hmac
import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import parse_qsl, unquote

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from starter.local.sandbox.faults import Fault, Faults
from starter.local.sandbox.fleet import AlreadyPausedError, Fleet
from starter.local.sandbox.guest_process import BootError
from starter.local.sandbox.one_sandbox import SandboxNotFoundError
from starter.local.sandbox.records import Record, new_record

ENVD_VERSION = "0.6.13"
DEFAULT_TIMEOUT = 300
LONGEST_TIMEOUT = 24 * 3600
"""E2B's longest run without a pause, in seconds."""
LARGEST_PAGE = 100

Seconds = Annotated[int, Field(ge=0, le=LONGEST_TIMEOUT)]
Handler = Callable[[Request], Awaitable[Response]]
_FAULTS = TypeAdapter(list[Fault])


class _Body(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class _AutoResume(_Body):
    enabled: bool = False


class NewSandbox(_Body):
    """The body of a creation."""

    template_id: str = Field(alias="templateID")
    timeout: Seconds = DEFAULT_TIMEOUT
    auto_pause: bool = False
    auto_pause_memory: bool = True
    auto_resume: _AutoResume | None = None
    allow_internet_access: bool | None = Field(default=None, alias="allow_internet_access")
    metadata: dict[str, str] = {}
    env_vars: dict[str, str] = {}
    network: dict[str, Any] | None = None
    mcp: Any = None
    iam: Any = None
    volume_mounts: list[Any] | None = None


class _Timeout(_Body):
    timeout: Seconds = DEFAULT_TIMEOUT


class _Pause(_Body):
    memory: bool = True


class Control:
    """The control plane over a fleet."""

    def __init__(self, fleet: Fleet, *, api_key: str, domain: str, faults: Faults) -> None:
        self._fleet = fleet
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
            ("POST", f"{one}/fork", _unsupported),
            ("POST", f"{one}/snapshots", _unsupported),
            ("PUT", f"{one}/network", _unsupported),
            ("POST", "/_control/faults", self._set_faults),
            ("GET", "/_control/faults", self._show_faults),
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
            except SandboxNotFoundError as error:
                return _error(404, str(error))
            except AlreadyPausedError as error:
                return _error(409, str(error))
            except ValidationError as error:
                return _error(400, _named(error))
            except ValueError as error:
                return _error(400, str(error))
            except BootError as error:
                return _error(500, str(error))

        return endpoint

    async def _health(self, _request: Request) -> Response:
        return JSONResponse({"ok": True, "isolated": self._fleet.isolated})

    async def _set_faults(self, request: Request) -> Response:
        """Replace the faults to come by a JSON list; an empty list clears them."""
        self._faults.set(_FAULTS.validate_json(await request.body()))
        return await self._show_faults(request)

    async def _show_faults(self, _request: Request) -> Response:
        return JSONResponse([fault.model_dump() for fault in self._faults.pending()])

    async def _create(self, request: Request) -> Response:
        body = NewSandbox.model_validate_json(await request.body())
        _refuse_unsupported(body)
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
        )
        sandbox = await self._fleet.create(record)
        return JSONResponse(self._session(sandbox.record), 201)

    async def _connect(self, request: Request) -> Response:
        body = _Timeout.model_validate_json(await request.body() or b"{}")
        sandbox_id = request.path_params["sandbox_id"]
        resumed = await self._fleet.connect(sandbox_id, seconds=body.timeout)
        return JSONResponse(self._session(self._fleet.find(sandbox_id).record), 201 if resumed else 200)

    async def _pause(self, request: Request) -> Response:
        body = _Pause.model_validate_json(await request.body() or b"{}")
        await self._fleet.pause(request.path_params["sandbox_id"], keep_memory=body.memory)
        return Response(status_code=204)

    async def _set_timeout(self, request: Request) -> Response:
        body = _Timeout.model_validate_json(await request.body())
        await self._fleet.set_timeout(request.path_params["sandbox_id"], seconds=body.timeout)
        return Response(status_code=204)

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
        query = request.query_params
        found = [record for record in self._fleet.records() if _matches(record, query)]
        found.sort(key=_order, reverse=query.get("order") == "desc")
        limit = min(int(query.get("limit") or LARGEST_PAGE), LARGEST_PAGE)
        rest = _after(found, query.get("nextToken"), descending=query.get("order") == "desc")
        more = {"x-next-token": _token(rest[limit - 1])} if len(rest) > limit else {}
        return JSONResponse([self._detail(record) for record in rest[:limit]], headers=more)

    def _session(self, record: Record) -> dict[str, object]:
        return {
            "templateID": record.template_id,
            "sandboxID": record.sandbox_id,
            "clientID": "local",
            "envdVersion": ENVD_VERSION,
            "envdAccessToken": record.access_token,
            "domain": self._domain,
        }

    def _detail(self, record: Record) -> dict[str, object]:
        return {
            **self._session(record),
            "alias": record.template_id,
            "startedAt": record.started_at.isoformat(),
            "endAt": record.end_at.isoformat(),
            "state": record.state,
            "cpuCount": 2,
            "memoryMB": 512,
            "diskSizeMB": 10240,
            "metadata": record.metadata,
            "allowInternetAccess": record.internet,
            "lifecycle": {
                "onTimeout": "pause" if record.pause_on_timeout else "kill",
                "autoResume": record.auto_resume,
            },
        }


def _refuse_unsupported(body: NewSandbox) -> None:
    asked = {
        "network": {name for name, value in (body.network or {}).items() if value},
        "mcp": body.mcp,
        "iam": body.iam,
        "volumeMounts": body.volume_mounts,
    }
    if named := [name for name, value in asked.items() if value]:
        raise ValueError(
            f"The local sandbox does not have {' or '.join(named)}; leave it out of the creation."
        )


def _matches(record: Record, query: Any) -> bool:
    pairs = [(unquote(name), unquote(value)) for name, value in parse_qsl(query.get("metadata", ""))]
    after = query.get("startedAfter")
    return (
        all(record.metadata.get(name) == value for name, value in pairs)
        and record.state in query.get("state", record.state).split(",")
        and query.get("template", record.template_id) == record.template_id
        and (after is None or record.started_at > datetime.fromisoformat(after))
    )


def _order(record: Record) -> tuple[datetime, str]:
    return record.started_at, record.sandbox_id


def _token(record: Record) -> str:
    return f"{record.started_at.isoformat()}_{record.sandbox_id}"


def _after(records: list[Record], token: str | None, *, descending: bool) -> list[Record]:
    # A place in the order, not a count: sandboxes come and go between two pages.
    if token is None:
        return records
    time, _, sandbox_id = token.partition("_")
    place = (datetime.fromisoformat(time), sandbox_id)
    return [
        record for record in records if (_order(record) < place if descending else _order(record) > place)
    ]


def _named(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors())


def _error(code: int, message: str) -> Response:
    return JSONResponse({"code": code, "message": message}, code)


async def _unsupported(request: Request) -> Response:
    return _error(
        501, f"The local sandbox does not do {request.url.path.rpartition('/')[2]}; E2B's own does."
    )


async def _missing(_request: Request, _exception: Exception) -> Response:
    text = json.dumps({"code": 404, "message": "The local sandbox server has no such route."})
    return Response(text, 404, media_type="application/json")
