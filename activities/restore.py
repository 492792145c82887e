"""Brings a restore point's files into a sandbox. Knows the bucket, the rows and the runner."""

import asyncio
import hashlib
from collections import OrderedDict
from datetime import timedelta
from typing import Any, Final

from temporalio.exceptions import ApplicationError

from activities.manifests import (
    MAX_MANIFEST_BYTES,
    InvalidManifest,
    Manifest,
    merge,
    pack_manifest,
    unpack_manifest,
)
from activities.objects import ObjectMissing, Objects
from activities.restore_points import RestorePoints
from activities.stored_objects import pack_key
from activities.workspace import STATE_FOLDER, RunnerFault, Workspace
from workflows.errors import FailureType
from workflows.files import SandboxRef

RESTORE_TIME: Final = timedelta(minutes=15)
"""The longest a restore may take, download included."""
MAX_STATES: Final = 8
"""Whole states that a worker keeps; some ten MB each for ten thousand files."""
MAX_PACK_BYTES: Final = 3 * 1024 * 1024 * 1024
"""The largest pack that the worker carries itself."""
_DAMAGED: Final = frozenset({"corrupt", "missing", "invalid_manifest"})
"""Faults of a restore that lie in the bucket and stay."""


class Restorer:
    """Reads restore points and puts them into sandboxes."""

    def __init__(
        self, workspace: Workspace, objects: Objects, points: RestorePoints, *, local_sandbox: bool
    ) -> None:
        self._workspace = workspace
        self._objects = objects
        self._points = points
        self._relays = objects.is_private and not local_sandbox
        self._states: OrderedDict[int, Manifest] = OrderedDict()

    async def manifest(self, restore_point: int) -> Manifest:
        """Give the whole state of a restore point.

        Raises InvalidRestorePoint, not retried, when it is not there or not whole.
        """
        if (known := self._states.get(restore_point)) is not None:
            return known
        try:
            chain = await self._points.chain(restore_point)
            bodies = await asyncio.gather(*(self._body(link.key) for link in chain))
            whole = await asyncio.to_thread(lambda: merge([Manifest.parse(body) for body in bodies]))
        except (LookupError, InvalidManifest, ObjectMissing) as error:
            raise _invalid(restore_point, str(error)) from None
        self.remember(restore_point, whole)
        return whole

    async def _body(self, key: str) -> bytes:
        """Read a manifest; its key tells the digest that it was written with."""
        kept = await self._objects.get(key, limit=MAX_MANIFEST_BYTES)
        body = await asyncio.to_thread(unpack_manifest, kept)
        if f"-{hashlib.sha256(body).hexdigest()[:12]}/" not in key:
            raise InvalidManifest(f"Object {key!r} is not what was written.")
        return body

    def remember(self, restore_point: int, state: Manifest) -> None:
        """Keep the whole state of a restore point for the next delta on it; a cache."""
        self._states[restore_point] = state
        self._states.move_to_end(restore_point)
        while len(self._states) > MAX_STATES:
            self._states.popitem(last=False)

    async def restore(self, sandbox: SandboxRef, restore_point: int, *, source_only: bool) -> None:
        """Put the files of a restore point into a sandbox's workspace, every digest verified.

        Raises SandboxLost, InvalidRestorePoint, InvalidTemplate for too small a disk. Repeating it gives the
        same files.
        """
        try:
            await self._restore(sandbox, restore_point, source_only=source_only)
        except RunnerFault as fault:
            if fault.kind in _DAMAGED:
                raise _invalid(restore_point, fault.message) from None
            if fault.kind == "disk_full":
                raise ApplicationError(
                    f"The sandbox's disk does not hold the files of restore point {restore_point}. "
                    "Set E2B_TEMPLATE to a template with a larger disk.",
                    type=FailureType.INVALID_TEMPLATE,
                    non_retryable=True,
                ) from None
            raise

    async def _restore(self, sandbox: SandboxRef, restore_point: int, *, source_only: bool) -> None:
        manifest = await self.manifest(restore_point)
        newest = (await self._points.chain(restore_point))[-1]
        path = f"{sandbox.home}/{STATE_FOLDER}/restore-{restore_point}.manifest"
        await self._workspace.write(sandbox, path, await asyncio.to_thread(_packed, manifest))
        payload = {
            "manifest_path": path,
            "packs": await self._packs(sandbox, manifest),
            "source_only": source_only,
            "key": newest.key,
        }
        await self._workspace.ask(sandbox, "restore", payload, within=RESTORE_TIME)

    async def _packs(self, sandbox: SandboxRef, manifest: Manifest) -> dict[str, dict[str, Any]]:
        """Say where each pack is fetched: from the bucket, or from a file where it is out of reach."""
        if self._relays:
            return {pack: {"path": await self._relay(sandbox, pack)} for pack in sorted(manifest.packs)}
        return {
            pack: {"url": await self._objects.presign_get(pack_key(pack))} for pack in sorted(manifest.packs)
        }

    async def _relay(self, sandbox: SandboxRef, pack: str) -> str:
        try:
            data = await self._objects.get(pack_key(pack), limit=MAX_PACK_BYTES)
        except ObjectMissing as error:
            raise RunnerFault("missing", str(error)) from None
        path = f"{sandbox.home}/{STATE_FOLDER}/relayed/{pack}"
        await self._workspace.write(sandbox, path, data)
        return path


def _packed(manifest: Manifest) -> bytes:
    return pack_manifest(manifest.render())


def _invalid(restore_point: int, why: str) -> ApplicationError:
    return ApplicationError(
        f"Restore point {restore_point} cannot be restored: {why} It and all older ones stay as they are.",
        type=FailureType.INVALID_RESTORE_POINT,
        non_retryable=True,
    )
