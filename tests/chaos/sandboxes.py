"""What the sandbox server keeps of the sandboxes of running builds, read from its own files."""

import json
from collections.abc import Collection, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from starter.local.parts import Part
from starter.local.processes import started_at
from tests.chaos.parts import Parts


class Seen(NamedTuple):
    """A sandbox, as its record says."""

    sandbox_id: str
    build_id: str
    role: str
    generation: int
    state: str
    """running, paused."""
    run_began_at: datetime
    pid: int
    """Of what runs it; 0: nothing does."""

    @property
    def is_awake(self) -> bool:
        """Whether it runs, and is paid for."""
        return self.state == "running" and self.pid > 0


def of_builds(parts: Parts, build_ids: Collection[str]) -> Iterator[Seen]:
    """Give the sandboxes of these builds, running or paused."""
    for path in (parts.home.part(Part.SANDBOX) / "sandboxes").glob("*/record.json"):
        with suppress(OSError, ValueError):
            record = json.loads(path.read_text())
            if record["metadata"].get("build") in build_ids:
                yield _seen(record)


def _seen(record: dict[str, Any]) -> Seen:
    pid, _ = record["process"] or (0, 0)
    return Seen(
        sandbox_id=record["sandbox_id"],
        build_id=record["metadata"]["build"],
        role=record["metadata"]["role"],
        generation=int(record["metadata"]["generation"]),
        state=record["state"],
        run_began_at=datetime.fromisoformat(record["run_began_at"]),
        pid=pid if pid and started_at(pid) else 0,
    )


def is_awake(parts: Parts, build_id: str, sandbox_id: str) -> bool:
    """Tell whether a sandbox of a build runs; one that is gone, or was never there, does not."""
    return any(each.sandbox_id == sandbox_id and each.is_awake for each in of_builds(parts, {build_id}))


def in_work(parts: Parts, build_ids: Collection[str]) -> list[Seen]:
    """Give the running sandboxes in which a command has begun."""
    words = (line.split(" ") for line in parts.witness.read_text().splitlines())
    used = {sandbox for kind, _, sandbox, *_ in words if kind == "start"}
    found = of_builds(parts, build_ids)
    return [each for each in found if each.is_awake and each.sandbox_id in used]


def runners(of: dict[str, str]) -> Iterator[tuple[int, str]]:
    """Give the runners in some sandboxes, as process and build; `of`: sandbox → build."""
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            line = (path / "cmdline").read_bytes()
            if b"/runner-" not in line or not line.startswith(b"python3"):
                continue
            words = (path / "environ").read_bytes().split(b"\0")
            named = next((word for word in words if word.startswith(b"E2B_SANDBOX_ID=")), b"=")
            if build_id := of.get(named.partition(b"=")[2].decode()):
                yield int(path.name), build_id
