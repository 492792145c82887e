"""The web application: routes, the key, request ids and error bodies."""

import contextlib
import hmac
import secrets
from pathlib import Path

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from starter.local.model.control import Control
from starter.local.model.errors import ApiError
from starter.local.model.journal import Journal
from starter.local.model.messages_api import MessagesApi
from starter.local.model.stream import Disconnect

OPEN_PATHS = ("/healthz",)


def make_app(*, key: str, data: Path, pace: float = 0.0) -> ASGIApp:
    """Return the application; `data` is a directory for the journal, `pace` seconds between events."""
    data.mkdir(parents=True, exist_ok=True)
    api = MessagesApi(journal=Journal(data / "requests.jsonl"), pace=pace)
    routes = [
        Route("/healthz", _healthz),
        Route("/v1/messages", api.create, methods=["POST"]),
        Route("/v1/messages/count_tokens", api.count_tokens, methods=["POST"]),
        Route("/v1/models", api.list_models),
        Route("/v1/models/{model_id}", api.retrieve_model),
        *Control(api).routes(),
    ]
    return Door(Starlette(routes=routes, exception_handlers=_HANDLERS), key=key)


class Door:
    """Gives each request an id, asks for the key, and turns failures into the API's error bodies."""

    def __init__(self, app: ASGIApp, *, key: str) -> None:
        self._app = app
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"req_{secrets.token_hex(12)}"
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["request-id"] = request_id
            await send(message)

        # A fault drops the connection by leaving the response unfinished.
        with contextlib.suppress(Disconnect):
            app = self._app if self._admits(scope) else _unauthorised(request_id)
            await app(scope, receive, send_with_id)

    def _admits(self, scope: Scope) -> bool:
        given = Headers(scope=scope).get("authorization", "")
        return scope["path"] in OPEN_PATHS or hmac.compare_digest(
            given.encode(), f"Bearer {self._key}".encode()
        )


def _unauthorised(request_id: str) -> JSONResponse:
    error = ApiError(401, kind="authentication_error", message="invalid bearer token")
    return JSONResponse(error.body(request_id), status_code=401)


async def _healthz(_request: Request) -> Response:
    return PlainTextResponse("ok")


async def _api_error(request: Request, error: Exception) -> Response:
    failure = (
        error
        if isinstance(error, ApiError)
        else ApiError(500, kind="api_error", message="Internal server error")
    )
    return JSONResponse(
        failure.body(request.state.request_id), status_code=failure.status, headers=failure.headers
    )


async def _http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    kind = "not_found_error" if status == 404 else "invalid_request_error"  # noqa: PLR2004
    return await _api_error(
        request, ApiError(status, kind=kind, message=f"{request.method} {request.url.path}")
    )


_HANDLERS = {ApiError: _api_error, HTTPException: _http_error}
