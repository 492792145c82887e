"""`mark` and `verify`: whether this is the sandbox that was paused, with the files that it had."""

from __future__ import annotations

import hashlib
import os
import stat
from typing import Any

from . import index, reserve
from .capture import Limits
from .scan import scan
from .state import State, open_state, read_json, read_text, write_json


def mark(request: dict[str, Any]) -> dict[str, Any]:
    """Note a nonce, the last claim, the last capture and the files, on a full disk too; push all to the disk.

    Nothing may write to the workspace any more.
    """
    state = open_state(request)
    marker = {"nonce": request["nonce"], **_progress(state), "files": _files(state)}
    with reserve.given(state):
        write_json(state.path("marker"), marker)
    os.sync()
    return marker


def verify(request: dict[str, Any]) -> dict[str, Any]:
    """Answer whether the marker of this nonce is there and nothing is older or newer than it says."""
    workspace = os.path.isdir(os.path.expanduser(request["workspace"]))
    state = open_state(request)
    marker = read_json(state.path("marker"))
    if not workspace:
        reason = "the workspace is missing"
    elif marker is None:
        reason = "there is no marker: these are not the files that were paused"
    elif marker.get("nonce") != request["nonce"]:
        reason = "the marker is of another pause: these files are older or another sandbox's"
    else:
        now = _progress(state)
        wrong = [
            f"{name} is {now[name]!r}, was {marker[name]!r}" for name in now if now[name] != marker[name]
        ]
        # A marker of an older runner, or of a tree too large to be seen whole, does not tell of the files.
        if marker.get("files") and marker["files"] != _files(state):
            wrong.append("the files in the workspace are not those that were paused")
        reason = "; ".join(wrong)
    return {"intact": not reason, "reason": reason}


def _progress(state: State) -> dict[str, Any]:
    number = index.load(index.current_path(state)).number
    return {"claim": read_text(state.path("last_claim")), "capture": number, "generation": state.generation}


def _files(state: State) -> str:
    """Digest what a capture would see, contents unread; empty if the tree is larger than a capture takes.

    Only what a resume must bring back: no change times, no times of directories.
    """
    root, most = os.fsencode(state.workspace), Limits().entries
    if os.path.islink(root):
        return "a link"
    stats = scan(root, most=most).stats
    if len(stats) >= most:
        return ""
    digest = hashlib.sha256()
    for path in sorted(stats):
        digest.update(_line(root, path, stats[path]))
    return digest.hexdigest()


def _line(root: bytes, path: bytes, seen: os.stat_result) -> bytes:
    """Say what is at a path; nothing of what is never captured, as sockets."""
    mode = stat.S_IMODE(seen.st_mode)
    if stat.S_ISREG(seen.st_mode):
        return b"%s\0file %o %d %d\0" % (path, mode, seen.st_size, seen.st_mtime_ns)
    if stat.S_ISDIR(seen.st_mode):
        return b"%s\0dir %o\0" % (path, mode)
    if stat.S_ISLNK(seen.st_mode):
        return b"%s\0link %s\0" % (path, os.readlink(os.path.join(root, path)))
    return b""
