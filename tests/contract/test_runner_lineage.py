"""What a command left running is found whatever it did to its environment, its session and its parents."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from activities.runner.freezing import frozen
from activities.runner.groups import MARK, run_state
from activities.runner.state import State
from tests.runner_box import Box, finish, until

BARE = "env -i sh -c 'echo $$ > pid; while :; do sleep 1; done'"
AWAY = f"setsid {BARE}"
QUOTED = BARE.replace("$", r"\$")
TITLED = """import ctypes, os, time
if os.fork() == 0:
    os.setsid()
    fields = open("/proc/self/stat").read().rpartition(") ")[2].split()
    first, last = int(fields[47]), int(fields[48])
    ctypes.memset(first, 0, last - first)
    assert not open("/proc/self/environ", "rb").read().strip(b"\\0")
    open("pid", "w").write(str(os.getpid()))
time.sleep(600)
"""
LEFT = {
    "without an environment": f"{BARE} & wait",
    "the command itself without one": f"exec {BARE}",
    "and its shell has ended": f"{BARE} & sleep 0.2",
    "in a session of its own": f"{AWAY} & wait",
    "likewise, of a parent without a mark": f'exec env -i sh -c "setsid {QUOTED} & wait"',
    "beside one with a mark, in a session whose leader has ended": (
        f'setsid sh -c "{QUOTED} & sleep 600 &"; sleep 0.2'
    ),
    "as a daemon that works there": f'env -i setsid sh -c "setsid {QUOTED} &"; sleep 0.2',
    "under a title": f"exec {sys.executable} titled.py",
}


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path / "home")
    made.workspace.joinpath("titled.py").write_text(TITLED)
    yield made
    made.run("stop_processes", grace_seconds=0)
    for file in made.workspace.glob("*pid"):
        with suppress(ProcessLookupError):
            os.kill(int(file.read_text()), signal.SIGKILL)


def noted(box: Box, name: str = "pid") -> int:
    """The pid that a process wrote into the workspace."""
    file = box.workspace / name
    return int(until(lambda: file.exists() and file.read_text().strip()))


@pytest.mark.parametrize("command", LEFT.values(), ids=LEFT)
def test_all_that_comes_of_a_command_stands_while_files_are_copied(box: Box, command: str):
    """Also without a mark, and in a session of its own; afterwards it goes on."""
    box.bash("a", command, given={"background": True})
    writer = noted(box)
    with frozen(State(str(box.home), str(box.workspace), box.generation)):
        during = run_state(writer)

    assert ("T", "S") == (during, until(lambda: run_state(writer).replace("T", "").replace("R", "")))


def test_a_command_that_is_stopped_takes_all_that_comes_of_it_along(box: Box):
    """A child without mark and with a session of its own is killed with its parent, and writes no more."""
    answer = box.bash("a", f"{AWAY} & wait", timeout_seconds=0.5)

    assert ("timeout", "X") == (answer["status"], until(lambda: run_state(noted(box)).replace("Z", "X")))


def test_a_call_that_is_stopped_leaves_the_session_of_another(box: Box):
    """What an earlier call's server runs for it is killed; the server is not."""
    lent = f"{MARK}={box.state('claims', '1-b')} sh -c 'echo $$ > lent.pid; sleep 600'"
    box.bash("a", f"echo $$ > server.pid; {lent} & wait; exec sleep 600", given={"background": True})
    worker, server = noted(box, "lent.pid"), noted(box, "server.pid")
    box.bash("b", "sleep 600", timeout_seconds=0.2)

    assert ("X", "S") == (until(lambda: run_state(worker).replace("Z", "X")), run_state(server))


def test_the_runner_spares_what_started_it(box: Box):
    """Its parents live on, whatever their environment says."""
    waiting = box.begin("call", claim="a", tool="bash", input={"command": "echo $$ > pid; sleep 600"})
    noted(box)
    line = f"{sys.executable} -I -S {box.archive} interrupt; echo after"
    ran = subprocess.run(
        ["sh", "-c", line],
        input=box.request(claim="a"),
        env={**os.environ, MARK: str(box.state("claims", "1-a"))},
        capture_output=True,
        check=True,
    )

    assert ['{"killed": true}', "after"] == ran.stdout.decode().splitlines()
    assert 137 == finish(waiting)["exit_code"]
