"""Steps of a snapshot as the worker takes them, against the object store of a test."""

import json
import os
import zlib
from pathlib import Path
from typing import Any

from tests.object_store import ObjectStore
from tests.runner_box import Answer, Box

PUT = {"If-None-Match": "*"}


def capture(box: Box, **fields: Any) -> Answer:
    return box.run("capture", **fields)["capture"]


def upload(box: Box, store: ObjectStore, **fields: Any) -> tuple[Answer, Answer]:
    """Upload what is pending; gives the answers of pending and upload."""
    pending = box.run("pending", **fields)
    packs = {pack["sha256"] for row in pending["captures"] for pack in row["packs"]}
    urls = {pack: {"url": f"{store.url}/packs/{pack}/data?sig=secret", "headers": PUT} for pack in packs}
    return pending, box.run("upload", packs=urls)


def publish(box: Box, manifest: Answer, key: str) -> Answer:
    """Tell that a pending manifest was committed under this key; gives what is pending then."""
    told = {"number": manifest["number"], "key": key, "sha256": manifest["sha256"]}
    return box.run("pending", published=told)


def entries(manifest: Answer) -> dict[str, Answer]:
    return {line["path"]: line for line in lines_of(Path(manifest["path"]))[1:]}


def lines_of(manifest: Path) -> list[Answer]:
    """Read a manifest's file: its header, then a line a path."""
    return [json.loads(line) for line in unpacked(manifest).splitlines()]


def unpacked(manifest: Path) -> bytes:
    return zlib.decompress(manifest.read_bytes(), 16 + zlib.MAX_WBITS)


def restore(box: Box, store: ObjectStore, manifest: Answer, **fields: Any) -> Answer:
    packs = {row["pack"] for row in entries(manifest).values() if row.get("pack")}
    urls = {pack: {"url": f"{store.url}/packs/{pack}/data?sig=secret"} for pack in packs}
    return box.run("restore", manifest_path=manifest["path"], packs=urls, **fields)


def fill(workspace: Path) -> None:
    """Make a tree with all that a name or a file can be."""
    (workspace / "empty" / "deep").mkdir(parents=True)
    for name in ("new\nline", 'quo"te', "-dash", "per%cent", " space ", "ünï"):
        (workspace / name).write_text(name)
    Path(os.fsdecode(os.fsencode(workspace) + b"/caf\xe9")).write_bytes(b"\xff")
    (workspace / "tool").write_text("#!/bin/sh\n")
    (workspace / "tool").chmod(0o4755)
    os.link(workspace / "tool", workspace / "empty" / "same")
    (workspace / "dangling").symlink_to("no/where")
    (workspace / ".git").mkdir()
    (workspace / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (workspace / "node_modules" / "dep").mkdir(parents=True)
    (workspace / "node_modules" / "dep" / "index.js").write_text("1")
    (workspace / "zero").write_bytes(b"")
    (workspace / "big").write_bytes(os.urandom(3_000_000))
    (workspace / "closed").mkdir()
    (workspace / "closed" / "f").write_text("x")
    (workspace / "closed" / "f").chmod(0o000)
    (workspace / "closed").chmod(0o500)
    os.utime(workspace / "tool", ns=(1, 123_456_789))
    os.utime(workspace / "empty", ns=(1, 987_654_321))
    os.utime(workspace / "dangling", ns=(1, 555), follow_symlinks=False)
