"""E2B's snapshots and forks of a sandbox, of its files alone: processes are not in them, as E2B's are.

Keeps each snapshot in a directory of its own beside the sandboxes.
"""

import asyncio
import shutil
from pathlib import Path

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from starter.local.sandbox.bodies import Body
from starter.local.sandbox.copies import copy_files
from starter.local.sandbox.fleet import Fleet
from starter.local.sandbox.limits import TooManyError
from starter.local.sandbox.one_sandbox import SandboxNotFoundError
from starter.local.sandbox.records import Record, like, new_id

SNAPSHOT = "snapshot.json"
MOST_FORKS = 20


class _Snapshot(Body):
    name: str | None = None


class _Fork(Body):
    timeout: int = 300
    count: int = Field(default=1, ge=1, le=MOST_FORKS)


class Kept(BaseModel):
    """A snapshot."""

    snapshot_id: str
    sandbox_id: str
    names: list[str] = []

    def shown(self) -> dict[str, object]:
        """Return it as E2B does."""
        return {"snapshotID": self.snapshot_id, "names": self.names}


class Snapshots:
    """The snapshots of one server."""

    def __init__(self, root: Path, fleet: Fleet) -> None:
        self._root = root
        self._fleet = fleet
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def files_of(self, template: str) -> Path | None:
        """Return the files that a sandbox made from this template begins with; none if it is no snapshot."""
        for kept in self._all():
            if template in {kept.snapshot_id, *kept.names}:
                return self._root / kept.snapshot_id
        return None

    async def create(self, request: Request) -> Response:
        """Keep a sandbox's files as they are now; what runs inside stands still meanwhile."""
        body = _Snapshot.model_validate_json(await request.body() or b"{}")
        sandbox_id = request.path_params["sandbox_id"]
        names = [body.name] if body.name else []
        kept = Kept(snapshot_id=f"snap{new_id()}", sandbox_id=sandbox_id, names=names)
        directory = self._root / kept.snapshot_id
        async with self._fleet.find(sandbox_id).still():
            await copy_files(self._fleet.directory(sandbox_id), directory)
        await asyncio.to_thread((directory / SNAPSHOT).write_text, kept.model_dump_json())
        return JSONResponse(kept.shown(), 201)

    async def show(self, request: Request) -> Response:
        """Show them, newest last."""
        query = request.query_params
        found = [
            kept
            for kept in self._all()
            if query.get("sandboxID", kept.sandbox_id) == kept.sandbox_id
            and (query.get("name") is None or query["name"] in kept.names)
        ]
        begin = int(query.get("nextToken") or 0)
        end = begin + int(query.get("limit") or 100)
        more = {"x-next-token": str(end)} if end < len(found) else {}
        return JSONResponse([kept.shown() for kept in found[begin:end]], headers=more)

    async def delete(self, request: Request) -> Response:
        """Forget one."""
        files = self.files_of(request.path_params["template_id"])
        if files is None:
            raise SandboxNotFoundError("There is no such snapshot.")
        await asyncio.to_thread(shutil.rmtree, files, ignore_errors=True)
        return Response(status_code=204)

    async def fork(self, sandbox_id: str, body: bytes) -> list[Record | TooManyError]:
        """Create sandboxes with the files and metadata of one."""
        asked = _Fork.model_validate_json(body or b"{}")
        old = self._fleet.find(sandbox_id).record
        made: list[Record | TooManyError] = []
        files = self._fleet.directory(sandbox_id)
        async with self._fleet.find(sandbox_id).still():
            for _ in range(asked.count):
                record = like(old, timeout=asked.timeout)
                try:
                    made.append((await self._fleet.create(record, files=files)).record)
                except TooManyError as error:
                    made.append(error)
        return made

    def _all(self) -> list[Kept]:
        found = sorted(self._root.glob(f"*/{SNAPSHOT}"), key=lambda path: path.stat().st_mtime_ns)
        return [Kept.model_validate_json(path.read_bytes()) for path in found]
