"""The Messages API: check, count, price through the cache, answer; the only place where the parts meet."""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse

from starter.local.model.catalogue import Catalogue, Model, describe
from starter.local.model.errors import ApiError, invalid
from starter.local.model.faults import Fault, Faults, Gate, refusal_of
from starter.local.model.journal import Journal
from starter.local.model.message_rules import check_messages
from starter.local.model.prefix import Unit, item_digests, prefix_digests, units
from starter.local.model.prompt_cache import PromptCache
from starter.local.model.replies import Draft, compose, refused, spoil_tool_input
from starter.local.model.request_rules import check_fields, check_settings
from starter.local.model.signatures import verify
from starter.local.model.stream import send
from starter.local.model.values import Json
from starter.local.model.wire import stream_events

MAX_BODY_BYTES = 32_000_000


@dataclass(frozen=True)
class Checked:
    """A request that the API accepts."""

    body: Json
    model: Model
    digests: dict[str, list[str]]
    units: list[Unit]

    @property
    def seed(self) -> str:
        """The digest of the whole conversation."""
        return prefix_digests(self.digests)[-1]


class MessagesApi:
    """The endpoints under /v1."""

    def __init__(self, *, journal: Journal, pace: float = 0.0) -> None:
        self.catalogue = Catalogue()
        self.faults = Faults()
        self.gate = Gate()
        self.journal = journal
        self._cache = PromptCache()
        self._pace = pace

    async def create(self, request: Request) -> Response:
        """POST /v1/messages."""
        checked = self._check(await _read_json(request))
        fault = self.faults.take()
        refusal = refusal_of(fault)
        if refusal is not None:
            raise refusal
        if fault is not None and fault.kind == "slow_start":
            await asyncio.sleep(fault.seconds)
        if fault is not None and fault.kind == "page":
            return HTMLResponse("<html><body>We are down for maintenance.</body></html>")
        return self._answer(checked, fault, request_id=request.state.request_id)

    async def count_tokens(self, request: Request) -> Response:
        """POST /v1/messages/count_tokens."""
        checked = self._check(await _read_json(request), counting=True)
        return JSONResponse({"input_tokens": _input_tokens(checked.units)})

    async def list_models(self, request: Request) -> Response:
        """GET /v1/models."""
        models = [describe(model) for model in self.catalogue.all()]
        page = {"data": models, "has_more": False, "first_id": models[0]["id"], "last_id": models[-1]["id"]}
        return JSONResponse(page)

    async def retrieve_model(self, request: Request) -> Response:
        """GET /v1/models/{id}."""
        return JSONResponse(describe(self.catalogue.find(str(request.path_params["model_id"]))))

    def _check(self, raw: Any, *, counting: bool = False) -> Checked:
        body = check_fields(raw, counting=counting)
        model = self.catalogue.find(str(body["model"]))
        check_messages(body["messages"])
        check_settings(body, model, counting=counting)
        digests = item_digests(body)
        verify(body["messages"], prefix_digests(digests), model=model)
        checked = Checked(body, model, digests, units(body))
        total = _input_tokens(checked.units)
        if total > model.max_input_tokens and not counting:
            raise invalid(f"prompt is too long: {total} tokens > {model.max_input_tokens} maximum")
        return checked

    def _answer(self, checked: Checked, fault: Fault | None, *, request_id: str) -> Response:
        draft = _draft(checked, fault)
        usage = {**self._cache.serve(checked.units).as_json(), "output_tokens": draft.output_tokens}
        usage["output_tokens_details"] = {"thinking_tokens": draft.thinking_tokens}
        usage["service_tier"] = "standard"
        self._record(checked, usage, request_id)
        message = _message(checked.model, draft, usage)
        if not checked.body.get("stream"):
            return JSONResponse(message)
        return StreamingResponse(
            self._stream(message, draft, fault, request_id), media_type="text/event-stream"
        )

    def _stream(
        self, message: Json, draft: Draft, fault: Fault | None, request_id: str
    ) -> AsyncIterator[bytes]:
        events = list(stream_events(message, draft.blocks))
        return send(events, fault=fault, gate=self.gate, request_id=request_id, pace=self._pace)

    def _record(self, checked: Checked, usage: Json, request_id: str) -> None:
        entry = {
            "at": time.time(),
            "request_id": request_id,
            "model": checked.model.id,
            "messages": len(checked.body["messages"]),
            "digests": checked.digests,
            "usage": usage,
        }
        self.journal.record(entry)


def _draft(checked: Checked, fault: Fault | None) -> Draft:
    if fault is not None and fault.kind == "refusal":
        return refused()
    draft = compose(checked.body, model=checked.model, seed=checked.seed)
    return spoil_tool_input(draft) if fault is not None and fault.kind == "malformed" else draft


def _message(model: Model, draft: Draft, usage: Json) -> Json:
    refusal = {"type": "refusal", "category": "general_harms", "explanation": "It may do harm."}
    return {
        "id": f"msg_{secrets.token_hex(12)}",
        "type": "message",
        "role": "assistant",
        "model": model.id,
        "content": [block.whole for block in draft.blocks],
        "stop_reason": draft.stop_reason,
        "stop_sequence": None,
        "stop_details": refusal if draft.stop_reason == "refusal" else None,
        "usage": usage,
    }


def _input_tokens(found: list[Unit]) -> int:
    return found[-1].total if found else 0


async def _read_json(request: Request) -> Any:
    if "anthropic-version" not in request.headers:
        raise invalid("anthropic-version: header is required")
    raw = await request.body()
    if len(raw) > MAX_BODY_BYTES:
        raise ApiError(413, kind="request_too_large", message="Request exceeds the maximum size")
    try:
        return json.loads(raw)
    except ValueError as error:
        raise invalid(f"The request body is not valid JSON: {error}") from error
