"""The switches that tests turn over HTTP: faults, holds, the context window, and what was asked so far."""

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from starter.local.model.errors import invalid
from starter.local.model.faults import Fault, Hold
from starter.local.model.messages_api import MessagesApi

DEFAULT_LAST = 100

_FAULTS = TypeAdapter(list[Fault])


class Limits(BaseModel):
    """Limits of every model."""

    model_config = ConfigDict(extra="forbid")

    max_input_tokens: int | None = None
    """Context window in tokens; null for the model's own."""


class Control:
    """The endpoints under /_control."""

    def __init__(self, api: MessagesApi) -> None:
        self._api = api

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/_control/faults", self.set_faults, methods=["POST"]),
            Route("/_control/faults", self.show_faults, methods=["GET"]),
            Route("/_control/hold", self.hold, methods=["POST"]),
            Route("/_control/hold", self.show_hold, methods=["GET"]),
            Route("/_control/release", self.release, methods=["POST"]),
            Route("/_control/limits", self.limit, methods=["POST"]),
            Route("/_control/requests", self.requests, methods=["GET"]),
            Route("/_control/requests", self.forget, methods=["DELETE"]),
        ]

    async def set_faults(self, request: Request) -> Response:
        """Replace the faults by a JSON list; an empty list clears them."""
        try:
            self._api.faults.set(_FAULTS.validate_json(await request.body()))
        except ValidationError as error:
            raise invalid(str(error)) from error
        return await self.show_faults(request)

    async def show_faults(self, request: Request) -> Response:
        """Return the faults still to come."""
        return JSONResponse([fault.model_dump() for fault in self._api.faults.pending()])

    async def hold(self, request: Request) -> Response:
        """Hold the next streams after some events."""
        try:
            self._api.gate.close(Hold.model_validate_json(await request.body() or b"{}"))
        except ValidationError as error:
            raise invalid(str(error)) from error
        return await self.show_hold(request)

    async def show_hold(self, request: Request) -> Response:
        """Return how many streams stand still now."""
        return JSONResponse({"waiting": self._api.gate.waiting})

    async def release(self, request: Request) -> Response:
        """Let held streams go on."""
        self._api.gate.release()
        return JSONResponse({"waiting": 0})

    async def limit(self, request: Request) -> Response:
        """Narrow every model's context window."""
        try:
            limits = Limits.model_validate_json(await request.body())
        except ValidationError as error:
            raise invalid(str(error)) from error
        self._api.catalogue.limit_input(limits.max_input_tokens)
        return JSONResponse(limits.model_dump())

    async def requests(self, request: Request) -> Response:
        """Return the count and the last N requests (`?last=N`)."""
        last = request.query_params.get("last", "")
        number = int(last) if last.isdigit() else DEFAULT_LAST
        journal = self._api.journal
        return JSONResponse({"count": journal.count(), "requests": journal.last(number)})

    async def forget(self, request: Request) -> Response:
        """Forget the requests so far."""
        self._api.journal.clear()
        return Response(status_code=204)
