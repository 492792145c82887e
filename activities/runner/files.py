"""`write_file` and `edit_file`: the new content is made first, then renamed into place under the claim."""

from __future__ import annotations

import errno
import os
from typing import Any

from .claims import Claim
from .confine import MAX_FILE_BYTES, read_regular, resolve, shown
from .failures import describe_os_error
from .ledger import digest, note_seen, require_seen
from .outcomes import Refusal, outcome
from .state import read_json, write_json

MAX_SHOWN = 500
"""How much of a text that was not found is told back, characters."""


def write_file(claim: Claim, given: dict[str, Any]) -> dict[str, Any]:
    """Write a whole file; one that exists must have been read."""
    recovered = _recover(claim)
    if recovered:
        return recovered
    real = resolve(claim.state, given["path"])
    name = shown(claim.state, real)
    content = given["content"].encode("utf-8", "surrogatepass")
    before = None
    if os.path.lexists(real):
        before = digest(read_regular(real, given["path"]))
        require_seen(claim.state, real, before)
    text = f"The file {name} has been updated." if before else f"File created successfully at: {name}"
    return _replace(claim, real, before, content, text)


def edit_file(claim: Claim, given: dict[str, Any]) -> dict[str, Any]:
    """Replace an exact text in a file that was read; it must be unique, or all of it is to be replaced."""
    recovered = _recover(claim)
    if recovered:
        return recovered
    real = resolve(claim.state, given["path"])
    content = read_regular(real, given["path"])
    require_seen(claim.state, real, digest(content))
    every = bool(given.get("replace_all"))
    changed = _edit(content, given["old_string"], given["new_string"], every=every)
    text = f"The file {shown(claim.state, real)} has been updated."
    return _replace(
        claim, real, digest(content), changed, text + " All occurrences were replaced." if every else text
    )


def _edit(content: bytes, old_text: str, new_text: str, *, every: bool) -> bytes:
    if old_text == new_text:
        raise Refusal("No changes to make: old_string and new_string are exactly the same.")
    old, new = old_text.encode("utf-8", "surrogatepass"), new_text.encode("utf-8", "surrogatepass")
    if old not in content and b"\r\n" in content:
        old, new = _with_crlf(old), _with_crlf(new)
    count = content.count(old)
    if count == 0:
        raise Refusal(
            "String to replace not found in file. Read it again and copy the text exactly, without line "
            f"numbers.\nString: {_cut(old_text)}"
        )
    if count > 1 and not every:
        raise Refusal(
            f"Found {count} matches of the string to replace, but replace_all is false. To replace all "
            "occurrences, set replace_all to true. To replace only one occurrence, provide more context "
            f"to identify it.\nString: {_cut(old_text)}"
        )
    return content.replace(old, new)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + " […]"


def _with_crlf(text: bytes) -> bytes:
    """Match a file with CRLF line ends, which the model was shown as LF."""
    return text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def _replace(claim: Claim, real: str, before: str | None, content: bytes, text: str) -> dict[str, Any]:
    """Note what is about to happen, then let it happen in one rename."""
    if len(content) > MAX_FILE_BYTES:
        raise Refusal(f"The file would have {len(content)} bytes, more than {MAX_FILE_BYTES}.")
    after = digest(content)
    result = outcome("done", text, hash=after)
    try:
        os.makedirs(os.path.dirname(real), exist_ok=True)
        _write_payload(claim.path("payload"), content, real)
        write_json(claim.path("intent"), {"real": real, "before": before, "after": after, "result": result})
        _move(claim.path("payload"), real)
    except OSError as error:
        if describe_os_error(error)["kind"] == "disk_full":
            raise
        raise Refusal(f"{shown(claim.state, real)} cannot be written: {error.strerror}.") from None
    note_seen(claim.state, real, after)
    return result


def _write_payload(payload: str, content: bytes, real: str) -> None:
    with open(payload, "wb") as file:
        file.write(content)
        if os.path.exists(real):
            found = os.stat(real)
            if found.st_uid != os.getuid() and os.getuid() == 0:
                os.fchown(file.fileno(), found.st_uid, found.st_gid)
            os.fchmod(file.fileno(), found.st_mode & 0o7777)


def _move(payload: str, real: str) -> None:
    try:
        os.replace(payload, real)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        import shutil

        beside = f"{real}.nightshift"
        shutil.copy2(payload, beside)
        os.replace(beside, real)


def _recover(claim: Claim) -> dict[str, Any] | None:
    """Settle what an attempt that was killed left: done, not begun, or changed by another since."""
    intent = read_json(claim.path("intent"))
    if intent is None:
        return None
    real = intent["real"]
    now = digest(read_regular(real, real)) if os.path.lexists(real) else None
    if now == intent["after"]:
        note_seen(claim.state, real, intent["after"])
        return intent["result"]
    if now == intent["before"]:
        return None
    return outcome("interrupted", "The write was interrupted, and the file holds other content now. Read it.")
