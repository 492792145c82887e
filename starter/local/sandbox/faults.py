"""Faults on demand: which request or sandbox something goes wrong with, and how often. Does nothing itself.

`POST /_control/faults {"kind": …, "times": n, "sandbox": id?}` adds one, GET shows those to come, DELETE
forgets them all. Like every route of the control plane it needs the key; no sandbox can reach it.
"""

from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

Kind = Literal[
    "stale_files",
    "other_id",
    "bad_gateway",
    "server_error",
    "lost_answer",
    "drop",
    "stall",
    "killed",
    "disk_full",
    "aged",
    "rate_limit",
]
"""stale_files: a resume brings back home and tmp as they were when the fault was set (E2B #884).
other_id: a connect answers with another sandbox that has only part of the files.
bad_gateway: 502 instead of passing the request on; server_error: 500.
lost_answer: it is carried out, then answered with 502.
drop: it is carried out and the stream is cut after its beginning. stall: its answer waits `seconds`.
killed: the sandbox is gone once the answer has begun.
disk_full: for `seconds` no file can be written beyond 64 KiB.
aged: the run began `seconds` earlier, so that its longest run ends sooner.
rate_limit: 429 with a retry-after of `seconds`."""


class Fault(BaseModel):
    """One thing that goes wrong."""

    model_config = ConfigDict(extra="forbid")

    kind: Kind
    times: Annotated[int, Field(ge=1)] = 1
    """How many requests, or resumes, it hits."""
    after: Annotated[int, Field(ge=0)] = 0
    """How many requests that it would hit pass unharmed first."""
    sandbox: str | None = None
    """The sandbox it is for; any if not given."""
    path: str = ""
    """What a hit request's path has in it; if not given, rate_limit hits the control plane, others the data
    plane."""
    seconds: Annotated[float, Field(ge=0)] = 1.0
    """How long it lasts, or the retry-after."""


class Asked(NamedTuple):
    """What a request is for."""

    sandbox_id: str
    path: str
    is_data_plane: bool


class Faults:
    """The faults of requests still to come, taken in order, one a request."""

    def __init__(self) -> None:
        self._pending: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Add one."""
        self._pending.append(fault)

    def clear(self) -> None:
        """Forget them all."""
        self._pending.clear()

    def pending(self) -> list[Fault]:
        """Return those that have not been used up."""
        return list(self._pending)

    def take(self, asked: Asked) -> Fault | None:
        """Return the fault that hits this request, and count it."""
        found = [fault for fault in self._pending if _hits(fault, asked)]
        due = next((fault for fault in found if fault.after == 0), None)
        self._pending = [_counted(fault, due) if fault in found else fault for fault in self._pending]
        self._pending = [fault for fault in self._pending if fault.times > 0]
        return due


def _hits(fault: Fault, asked: Asked) -> bool:
    if fault.sandbox not in {None, asked.sandbox_id}:
        return False
    if fault.kind == "other_id":
        return asked.path.endswith("/connect")
    if fault.path:
        return fault.path in asked.path
    return asked.is_data_plane is not (fault.kind == "rate_limit")


def _counted(fault: Fault, due: Fault | None) -> Fault:
    if fault is due:
        return fault.model_copy(update={"times": fault.times - 1})
    return fault.model_copy(update={"after": max(0, fault.after - 1)})
