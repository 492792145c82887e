"""While processes stand still, only what may have changed since it was read ahead is read again."""

import ctypes
import os
import struct
import sys
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.contract.test_runner_read_ahead import age
from tests.object_store import ObjectStore, object_store
from tests.runner_box import Box, tree, until
from tests.runner_store import capture, restore, upload

IN_OPEN = 0x20
SETTLED, FRESH = {"settle_seconds": 0.01}, {"settle_seconds": 3_600}
MAPPER = """import mmap, time
with open("mapped", "r+b") as file:
    mapping = mmap.mmap(file.fileno(), 0)
mapping[0] = 1
open("ready", "w").close()
time.sleep(600)
"""


@pytest.fixture
def store() -> Iterator[ObjectStore]:
    with object_store() as opened:
        yield opened


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A sandbox with settled files, and a background command that has one of them mapped."""
    made = Box(tmp_path / "home")
    for name in ("a", "b", "mapped"):
        made.workspace.joinpath(name).write_bytes(os.urandom(1_000))
    os.link(made.workspace / "b", made.workspace / "same")
    made.workspace.joinpath("mapper.py").write_text(MAPPER)
    made.bash("m", f"exec {sys.executable} mapper.py", given={"background": True})
    until((made.workspace / "ready").exists)
    age(made.workspace)
    yield made
    made.run("stop_processes", grace_seconds=0)


@contextmanager
def opens(folder: Path) -> Generator[Counter[str]]:
    """Count how often each file of a directory is opened within."""
    libc, counted = ctypes.CDLL(None), Counter[str]()
    watch: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    assert libc.inotify_add_watch(watch, bytes(folder), IN_OPEN) > 0
    try:
        yield counted
        events = os.read(watch, 65_536)
    except BlockingIOError:
        events = b""
    finally:
        os.close(watch)
    while events:
        length: int = struct.unpack_from("iIII", events)[3]
        name, events = events[16 : 16 + length].rstrip(b"\0"), events[16 + length :]
        if name:
            counted[os.fsdecode(name)] += 1


def test_what_settled_since_the_last_capture_is_read_once(box: Box):
    """While its writer stands still only what may have changed is read again: too fresh, or mapped by it."""
    names = {"a", "b", "mapped"}
    with opens(box.workspace) as fresh:
        capture(box, limits=FRESH)
    with opens(box.workspace) as settled:
        capture(box, limits=SETTLED)
    with opens(box.workspace) as known:
        capture(box, limits=SETTLED)

    assert {"a": 2, "b": 2, "mapped": 2} == {name: fresh[name] for name in names}
    assert {"a": 1, "b": 1, "mapped": 2} == {name: settled[name] for name in names}
    assert not names & known.keys()


def test_what_was_read_ahead_is_restored_and_can_be_moved(box: Box, store: ObjectStore, tmp_path: Path):
    """Its packs have their names by the end, and what is moved out of a pack is read once too."""
    box.workspace.joinpath("dead").write_text("gone soon")
    capture(box, limits=SETTLED)
    upload(box, store)
    box.workspace.joinpath("dead").unlink()
    old = {key.split("/")[-2] for key in store.objects}
    with opens(box.workspace) as moved:
        capture(box, limits=SETTLED, carried=sorted(old))
    pending, _ = upload(box, store, full=True)
    for key in [key for key in store.objects if key.split("/")[-2] in old]:
        del store.objects[key]
    other = Box(tmp_path / "other")
    restore(other, store, pending["manifest"])

    assert (1, 1) == (moved["a"], moved["b"])
    assert tree(other.workspace) == tree(box.workspace)
