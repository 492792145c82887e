"""Brings packs into the bucket: straight from the sandbox, or through the worker.

Repeating it is safe: a pack is put only if absent, under the digest that names it.
"""

import hashlib
from datetime import timedelta
from typing import Any, Final

from temporalio.exceptions import ApplicationError

from activities.objects import Objects
from activities.pending import Pack, Pending, decode
from activities.stored_objects import pack_key
from activities.unsaved import untrusted
from activities.workspace import STATE_FOLDER, Workspace
from workflows.errors import FailureType
from workflows.files import SandboxRef

UPLOAD_TIME: Final = timedelta(minutes=15)
"""The longest one upload of all packs may take."""


class Uploads:
    """Uploads what waits in a sandbox."""

    def __init__(self, workspace: Workspace, objects: Objects, *, relays: bool) -> None:
        self._workspace = workspace
        self._objects = objects
        self._relays = relays

    async def put(self, sandbox: SandboxRef, pending: Pending) -> None:
        """Have the sandbox put its packs, or carry them where it cannot reach the bucket."""
        targets: dict[str, dict[str, Any]] = {}
        for pack in pending.packs.values():
            targets[pack["sha256"]] = await self._target(sandbox, pack)
        if all(target.get("exists") for target in targets.values()):
            return
        answer = await self._workspace.ask(sandbox, "upload", {"packs": targets}, within=UPLOAD_TIME)
        if failed := answer.get("failed"):
            first = failed[0]
            raise ApplicationError(
                f"{len(failed)} of {len(targets)} packs were not uploaded; the first: "
                f"HTTP {first.get('status')} {str(first.get('message'))[:200]!r}. They are uploaded again.",
                type=FailureType.RETRYABLE,
            )

    async def _target(self, sandbox: SandboxRef, pack: Pack) -> dict[str, Any]:
        key = pack_key(pack["sha256"])
        if content := pack.get("content"):
            await self._put_pack(pack, key, decode(content))
            return {"exists": True}
        if await self._objects.size(key) == pack["bytes"]:
            return {"exists": True}
        if self._relays:
            await self._relay(sandbox, pack, key)
            return {"exists": True}
        put = await self._objects.presign_put(key, sha256=pack["sha256"], length=pack["bytes"])
        return {"url": put.url, "headers": put.headers}

    async def _relay(self, sandbox: SandboxRef, pack: Pack, key: str) -> None:
        """Carry a pack through the worker: the bucket is private and the sandbox is elsewhere."""
        path = f"{sandbox.home}/{STATE_FOLDER}/packs/{pack['sha256']}"
        await self._put_pack(pack, key, await self._workspace.client.read(sandbox.sandbox_id, path))

    async def _put_pack(self, pack: Pack, key: str, data: bytes) -> None:
        if hashlib.sha256(data).hexdigest() != pack["sha256"]:
            raise untrusted(f"Pack {pack['sha256'][:12]} does not have the digest that it is named by.")
        await self._objects.put_if_absent(key, data, content_type="application/octet-stream")
