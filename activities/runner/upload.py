"""`upload`: send packs to presigned URLs, several at a time."""

from __future__ import annotations

import http.client
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .state import State, open_state
from .transfer import Answer, put

PARALLEL = 4
ATTEMPTS = 3
_THERE = 412
_AGAIN = frozenset({0, 408, 409, 429, 500, 502, 503, 504})


def upload(request: dict[str, Any]) -> dict[str, Any]:
    """Answer which packs the store has now, and which not and why (status 0: no answer)."""
    state = open_state(request)
    packs: dict[str, dict[str, Any]] = request["packs"]
    with ThreadPoolExecutor(PARALLEL) as pool:
        running = {pack: pool.submit(_upload, state, pack, target) for pack, target in packs.items()}
        answers = {pack: future.result() for pack, future in running.items()}
    failed = [
        {"sha256": pack, "status": answer.status, "message": answer.message}
        for pack, answer in answers.items()
        if not _stored(answer)
    ]
    return {"uploaded": [pack for pack, answer in answers.items() if _stored(answer)], "failed": failed}


def _stored(answer: Answer) -> bool:
    return 200 <= answer.status < 300 or answer.status == _THERE  # noqa: PLR2004 - the range of success


def _upload(state: State, pack: str, target: dict[str, Any]) -> Answer:
    if target.get("exists"):
        return Answer(200, "")
    answer = Answer(0, "")
    for attempt in range(ATTEMPTS):
        answer = _put(state, pack, target)
        if answer.status not in _AGAIN or attempt == ATTEMPTS - 1:
            break
        time.sleep(0.5 * 2**attempt)
    return answer


def _put(state: State, pack: str, target: dict[str, Any]) -> Answer:
    try:
        with open(state.path("packs", os.path.basename(pack)), "rb") as body:
            length = os.fstat(body.fileno()).st_size
            return put(target["url"], headers=target.get("headers") or {}, body=body, length=length)
    except FileNotFoundError:
        return Answer(404, "The sandbox has no such pack.")
    except (OSError, http.client.HTTPException) as error:
        return Answer(0, f"{type(error).__name__}: {getattr(error, 'strerror', None) or 'no answer'}")
