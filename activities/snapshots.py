"""Takes snapshots: what the runner captured goes to the bucket, and one commit makes it a restore point.

Repeating it after any failure is safe: packs and manifests are put only if absent, a capture becomes at most
one row, and the runner hears of it, with its next request, only after the commit.
"""

import asyncio
import hashlib
import logging
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final, NamedTuple

from temporalio import activity
from temporalio.exceptions import ApplicationError
from typing_extensions import override

from activities.captures import Captures
from activities.dead_packs import DeadPacks
from activities.failures import classified
from activities.heartbeat import heartbeating
from activities.manifests import InvalidManifest, Manifest, pack_manifest, unknown_packs, unpack_manifest
from activities.objects import Objects
from activities.pending import Pending, decode, read_pending
from activities.restore import Restorer
from activities.restore_points import NewRestorePoint, RestorePoints
from activities.stored_objects import StoredObjects, manifest_key, pack_key
from activities.unsaved import telling, untrusted
from activities.uploads import Uploads
from activities.workspace import RunnerFault, Workspace
from workflows import ports
from workflows.errors import FailureType
from workflows.files import SLEEP, RestorePoint, TakeSnapshot

log = logging.getLogger(__name__)
CAPTURE_TIME: Final = timedelta(minutes=5)
"""The longest a whole scan may take."""
MAX_OMITTED: Final = 50
"""How many left-out paths a restore point names."""
MAX_RECOVERIES: Final = 20
"""How often lost packs, which the runner names five at a time, are made again in one snapshot."""


class _Found(NamedTuple):
    """A manifest out of a sandbox, and what it builds on."""

    data: bytes
    manifest: Manifest
    packs: Mapping[str, int]
    """Those that it may name, and their lengths in bytes."""
    parent: int | None = None
    before: Manifest | None = None
    """The state that a delta builds on."""


class Snapshots(ports.Snapshots):
    """Snapshots over the runner, the bucket and the restore points' rows."""

    def __init__(
        self,
        workspace: Workspace,
        objects: Objects,
        points: RestorePoints,
        restorer: Restorer,
        *,
        stored: StoredObjects,
        captures: Captures,
        local_sandbox: bool,
    ) -> None:
        self._workspace = workspace
        self._stored = stored
        self._captures = captures
        self._dead = DeadPacks(points, restorer)
        self._restorer = restorer
        self._objects = objects
        self._points = points
        self._uploads = Uploads(workspace, objects, relays=objects.is_private and not local_sandbox)

    @override
    @activity.defn
    async def take_snapshot(self, request: TakeSnapshot) -> RestorePoint:
        """Upload what was captured, publish the manifest, commit the restore point.

        Gives the newest restore point again when nothing changed since. Raises SandboxLost when the sandbox
        is gone or another generation has taken over, DiskFull, WorkspaceReplaced, and Unsaved where it is to
        tell of an outage.
        """
        async with heartbeating(), classified(), telling(request):
            return await self._take(request)

    async def _take(self, request: TakeSnapshot) -> RestorePoint:
        if request.reason == SLEEP:
            # Before the capture, so that what they write as they end is in it and nothing is written later.
            await self._workspace.ask(request.sandbox, "stop_processes", {})
        last = await self._points.last(request)
        pending = await self._pending(request, last.number)
        newest = None if pending.number else await self._points.newest(request)
        try:
            point = newest or await self._save(request, pending, last.id)
            if request.full_scan:  # what is slept on, or proven, must be there to restore
                await self._restorer.manifest(point.restore_point)
        except ApplicationError as error:
            if error.type != FailureType.INVALID_RESTORE_POINT:
                raise
            log.warning("%s: saved whole, on no older manifest. %s", request.build_id, error.message)
            pending, point = await self._save_anew(request, last.id)
        if pending.number:
            number, sha256 = pending.number, pending.sha256
            self._captures.commit(request.sandbox, number=number, key=point.key, sha256=sha256)
        return point

    async def _save(self, request: TakeSnapshot, pending: Pending, after: int | None) -> RestorePoint:
        if found := await self._points.by_key(request.project, _key(request, pending)):
            return found
        # Before anything is looked for or put: the sweep spares what was noted lately.
        await self._stored.note(packs=pending.packs, manifest=_key(request, pending))
        await self._upload(request, pending)
        return await self._publish(request, pending, after)

    async def _save_anew(self, request: TakeSnapshot, after: int | None) -> tuple[Pending, RestorePoint]:
        """Save the whole state without what it was to build on; packs that are gone are made again."""
        uploaded = await self._uploaded(request)
        for _ in range(MAX_RECOVERIES):
            pending = await self._ask_pending(request, full=True)
            data = await self._read(request, pending)
            manifest = await asyncio.to_thread(_parse, data)
            if manifest.header.kind != "full":
                raise untrusted("It lists changes, and a whole one was asked for.")
            used = {name: uploaded[name] for name in manifest.packs & uploaded.keys()}
            await self._stored.note(packs={*pending.packs, *used}, manifest=_key(request, pending))
            known = {name: pack["bytes"] for name, pack in pending.packs.items()}
            sizes = {name: await self._objects.size(pack_key(name)) for name in used}
            known |= {name: size for name, size in used.items() if sizes[name] == size}
            lost = sorted(manifest.packs - known.keys())
            if not lost:
                await self._upload(request, pending)
                # A damaged object of this very name would stay: it is put only if absent.
                await self._objects.delete(_key(request, pending))
                return pending, await self._commit(request, pending, _Found(data, manifest, known), after)
            await self._capture(request, full_scan=False, emptied=lost)
        raise ApplicationError("Packs are lost again and again.", type=FailureType.RETRYABLE)

    async def _uploaded(self, request: TakeSnapshot) -> dict[str, int]:
        """Give the packs that the build's restore points name, with their lengths; none after a gap."""
        newest = await self._points.newest(request)
        try:
            return await self._points.packs(await self._points.chain(newest.restore_point)) if newest else {}
        except LookupError:
            return {}

    async def _pending(self, request: TakeSnapshot, saved: int) -> Pending:
        """Tell what waits; a first snapshot of nothing is scanned, as each build has a restore point.

        `saved`: the newest capture that is a restore point; what this worker remembers may be older.
        """
        told = self._captures.take(request.sandbox, least=max(request.captured, saved))
        if request.full_scan or request.recapture or self._captures.whole:
            carried = await self._dead.choose(request) if request.full_scan else ()
            await self._capture(request, full_scan=request.full_scan, carried=carried)
            told = None
        pending = read_pending(told) if told else None
        if pending is None or 0 < pending.number <= saved:
            pending = await self._ask_pending(request)
        if pending.number or await self._points.newest(request):
            return pending
        await self._capture(request, full_scan=True)
        return await self._ask_pending(request)

    async def _capture(
        self,
        request: TakeSnapshot,
        *,
        full_scan: bool,
        emptied: Sequence[str] = (),
        carried: Sequence[str] = (),
    ) -> None:
        payload = {
            "full_scan": full_scan,
            "emptied": list(emptied),
            "carried": list(carried),
            "whole": self._captures.whole,
            **self._captures.fields(request.sandbox),
        }
        await self._workspace.ask(request.sandbox, "capture", payload, within=CAPTURE_TIME)

    async def _ask_pending(self, request: TakeSnapshot, *, full: bool = False) -> Pending:
        """Ask what waits; contents whose pack was deleted before its upload are read again first.

        With `full` the manifest is one though nothing changed, and lists all files.
        """
        payload = {"full": full, "whole": self._captures.whole, **self._captures.fields(request.sandbox)}
        for _ in range(MAX_RECOVERIES):
            try:
                return read_pending(await self._workspace.ask(request.sandbox, "pending", payload))
            except RunnerFault as fault:
                lost = re.findall(r"[0-9a-f]{64}", fault.message)
                if fault.kind != "lost_packs" or not lost:
                    raise
                await self._capture(request, full_scan=False, emptied=lost)
        return read_pending(await self._workspace.ask(request.sandbox, "pending", payload))

    async def _upload(self, request: TakeSnapshot, pending: Pending) -> None:
        await self._uploads.put(request.sandbox, pending)

    async def _publish(self, request: TakeSnapshot, pending: Pending, after: int | None) -> RestorePoint:
        """Read, judge and put the manifest, then commit: only the worker publishes."""
        data = await self._read(request, pending)
        manifest = await asyncio.to_thread(_parse, data)
        parent = await self._parent(request, manifest)
        before = await self._before(manifest, parent)
        known = await self._known_packs(pending, parent)
        return await self._commit(request, pending, _Found(data, manifest, known, parent, before), after)

    async def _commit(
        self, request: TakeSnapshot, pending: Pending, found: _Found, after: int | None
    ) -> RestorePoint:
        manifest, known = found.manifest, found.packs
        whole = await asyncio.to_thread(_applied, found.before, manifest)
        if missing := unknown_packs(manifest, known):
            raise untrusted(f"It names {len(missing)} packs that were never uploaded.")
        new = NewRestorePoint(
            number=pending.number,
            key=_key(request, pending),
            kind=manifest.header.kind,
            parent=found.parent,
            files=whole.files,
            changed=manifest.changed_since(found.before),
            bytes=sum(pack["bytes"] for pack in pending.packs.values()),
            omitted=manifest.omitted[:MAX_OMITTED],
            packs={name: known[name] for name in manifest.packs},
        )
        body = await asyncio.to_thread(pack_manifest, found.data)
        await self._objects.put_if_absent(new.key, body, content_type="application/gzip")
        point = await self._points.commit(request, new, after=after)
        self._restorer.remember(point.restore_point, whole)
        return point

    async def _read(self, request: TakeSnapshot, pending: Pending) -> bytes:
        kept = decode(pending.content)
        kept = kept or await self._workspace.client.read(request.sandbox.sandbox_id, pending.path)
        try:
            data = await asyncio.to_thread(unpack_manifest, kept)
        except InvalidManifest:
            data = b""
        if hashlib.sha256(data).hexdigest() != pending.sha256:
            raise ApplicationError("The manifest was cut on its way.", type=FailureType.RETRYABLE)
        return data

    async def _before(self, manifest: Manifest, parent: int | None) -> Manifest | None:
        """Give the state that a delta builds on; none for a full manifest."""
        if manifest.header.kind == "full":
            return None
        if parent is None:
            raise untrusted("It lists changes, and there is no restore point that they were made to.")
        return await self._restorer.manifest(parent)

    async def _known_packs(self, pending: Pending, parent: int | None) -> dict[str, int]:
        known = {name: pack["bytes"] for name, pack in pending.packs.items()}
        if parent is None:
            return known
        return {**await self._points.packs(await self._points.chain(parent)), **known}

    async def _parent(self, request: TakeSnapshot, manifest: Manifest) -> int | None:
        """Find the restore point that a manifest builds on, or whose packs a full one uses again."""
        key = manifest.header.parent
        if key is None:
            newest = await self._points.newest(request)
            return newest.restore_point if newest else None
        parent = await self._points.by_key(request.project, key)
        if parent is None:
            raise untrusted(f"It builds on {key!r}, which is no restore point of this project.")
        return parent.restore_point


def _applied(before: Manifest | None, manifest: Manifest) -> Manifest:
    """Give the state after a manifest, so that only what can be restored is committed."""
    try:
        return before.apply(manifest) if before else manifest
    except InvalidManifest as error:
        raise untrusted(str(error)) from None


def _parse(data: bytes) -> Manifest:
    try:
        return Manifest.parse(data)
    except InvalidManifest as error:
        raise untrusted(str(error)) from None


def _key(request: TakeSnapshot, pending: Pending) -> str:
    return manifest_key(
        project=request.project,
        build_id=request.build_id,
        generation=request.sandbox.generation,
        number=pending.number,
        sha256=pending.sha256,
    )
