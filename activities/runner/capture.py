"""`capture`: see what changed, copy it into packs, and make that the newest state of the index."""

from __future__ import annotations

import os
import time
from typing import Any, NamedTuple, cast

from . import index, reserve
from .failures import RunnerFailure
from .freezing import frozen, writers
from .looking import Look, Rules
from .mappings import mapped
from .packs import Packer, Place
from .publish import hear
from .published import read_published
from .rows import META_FIELDS, Row
from .scan import scan
from .state import State, locked, open_state, write_json
from .text import clean_name

NO_PACKS: frozenset[str] = frozenset()
MAX_NAMES = 20
"""Names of omitted and torn files that an answer carries."""


class Limits(NamedTuple):
    """What one capture may take; each is a field of the request's `limits`."""

    entries: int = 500_000
    changed_bytes: int = 2 * 1024**3
    file_bytes: int = 1024**3
    pack_bytes: int = 64 * 1024**2
    """A pack is closed once it is larger."""
    settle_seconds: float = 2.0
    """A file touched this short before the scan is read again next time, as a timestamp may not tell."""
    carry_free_bytes: int = 256 * 1024**2
    """Nothing is carried forward on a disk with less room, as a save must not fail by it."""
    tick_ns: int = 1
    """Granularity of the change times that are compared; coarser only to test coarse clocks."""


def capture(request: dict[str, Any]) -> dict[str, Any]:
    """Capture the workspace; `number` stays that of the last capture if nothing changed.

    `whole` packs every content again, whatever packs hold it. All content is moved out of the packs that
    `emptied` names, as they are lost; out of those of `carried`, which are mostly dead, what can be read.

    Raises RunnerFailure `workspace_replaced` if it is a link or a file, as nothing from outside may get in.
    """
    state = open_state(request)
    hear(request)
    if os.path.islink(state.workspace) or not os.path.isdir(state.workspace):
        what = "a link" if os.path.islink(state.workspace) else "a file"
        text = f"{state.workspace} is {what} now. Remove it, then move the folder itself there"
        raise RunnerFailure("workspace_replaced", text)
    with locked(state.path("captures", "lock")):
        return {"capture": _take(state, request)}


def read_limits(request: dict[str, Any]) -> Limits:
    """Read the limits of a request; what it does not name has its default."""
    given: dict[str, Any] = request.get("limits") or {}
    return Limits(**{name: given[name] for name in Limits._fields if name in given})


def _take(state: State, request: dict[str, Any]) -> dict[str, Any]:
    limits, whole = read_limits(request), bool(request.get("whole"))
    has_room = reserve.free(state) >= limits.carry_free_bytes
    emptied, carried = _packs(request, "emptied"), _packs(request, "carried") if has_room else NO_PACKS
    last = index.load(index.current_path(state))
    created = time.time()
    rules = Rules(
        settled_ns=int((created - limits.settle_seconds) * 1e9),
        file_bytes=limits.file_bytes,
        tick_ns=limits.tick_ns,
        full=whole or bool(request.get("full_scan")),
        emptied=emptied,
        carried=carried,
    )
    packer = Packer(
        state,
        known={} if whole else _places(last, without=emptied | carried),
        carried=frozenset(row.sha256 for row in last.rows.values() if row.pack in carried),
        pack_bytes=limits.pack_bytes,
        most=limits.changed_bytes,
    )
    seen, held = _look(state, last, rules, packer, most=limits.entries)
    changed = _count_changes(last.rows, seen.after)
    # A lost pack that is made again under its name changes no row, and waits for its upload all the same.
    remade = not emptied.isdisjoint(pack["sha256"] for pack in packer.packs)
    now = index.Index(0, created, seen.after)
    number = _commit(state, last, now, packer.packs, is_new=bool(changed) or remade)
    return {
        "number": number,
        "changed": changed,
        "bytes": packer.stored,
        "frozen_seconds": round(held, 4),
        "omitted": _names(seen.omitted),
        "newly_omitted": _names([path for path in seen.omitted if not _was_omitted(last.rows.get(path))]),
        "torn": _names(seen.torn),
    }


def _look(state: State, last: index.Index, rules: Rules, packer: Packer, *, most: int) -> tuple[Look, float]:
    """See and pack what changed, and give for how many seconds other processes stood still for it."""
    root, before = os.fsencode(state.workspace), last.rows
    try:
        running = writers(state)
        if running:
            shared = mapped(running)  # before the scan: what is mapped after it shows in a stat
            ahead = Look(root, before=before, rules=rules, packer=packer)
            before = {**before, **ahead.read_ahead(scan(root, most=most), mapped=shared)}
        began = time.monotonic()
        with frozen(state):
            seen = Look(root, before=before, rules=rules, packer=packer)
            seen.look(scan(root, most=most))
        return seen, time.monotonic() - began
    except BaseException:
        packer.abandon()
        raise


def _packs(request: dict[str, Any], field: str) -> frozenset[str]:
    return frozenset(cast("list[str]", request.get(field) or []))


def _places(last: index.Index, *, without: frozenset[str]) -> dict[str, Place]:
    return {
        row.sha256: Place(row.pack, row.offset, row.length)
        for row in last.rows.values()
        if row.pack and row.pack not in without
    }


def _commit(
    state: State, last: index.Index, now: index.Index, packs: list[dict[str, Any]], *, is_new: bool
) -> int:
    """Make what was seen the newest capture: its packs are noted first, the index replaced last."""
    path = index.current_path(state)
    if last.number and not is_new:
        if now.rows != last.rows:
            index.save(path, last._replace(rows=now.rows))
        return last.number
    number = max(last.number, read_published(state).number) + 1
    write_json(state.path("captures", f"{number}.json"), {"number": number, "packs": packs})
    index.save(path, now._replace(number=number))
    return number


def _was_omitted(row: Row | None) -> bool:
    return row is not None and (row.kind == "omitted" or row.flag == "partial")


def _count_changes(before: dict[bytes, Row], after: dict[bytes, Row]) -> int:
    changed = 0
    for path, row in after.items():
        old = before.get(path)
        if old is not row and (old is None or old[:META_FIELDS] != row[:META_FIELDS]):
            changed += 1
    return changed + len(before.keys() - after.keys())


def _names(paths: list[bytes]) -> list[str]:
    return [clean_name(path) for path in sorted(paths)[:MAX_NAMES]]
