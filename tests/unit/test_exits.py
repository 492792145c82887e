import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAD = """
import asyncio, atexit, logging, os, signal, sys
from starter.exits import run, until_told
atexit.register(lambda: os.write(1, b"interpreter exit"))
"""
PLAIN = {"PATH": os.environ["PATH"]}
"""No variable that changes how python buffers."""
FAR = 30
"""Seconds that a hanging script may hold a test."""


def script(body: str) -> subprocess.CompletedProcess[str]:
    """Run a script to its end."""
    return subprocess.run(
        [sys.executable, "-c", HEAD + body],
        cwd=ROOT, env=PLAIN, check=False, capture_output=True, text=True, timeout=FAR,
    )  # fmt: skip


def told(body: str, number: signal.Signals) -> tuple[int, str, str]:
    """Run a script, send it a signal once it says `up`, and give its status and what it wrote."""
    process = subprocess.Popen(
        [sys.executable, "-c", HEAD + body],
        cwd=ROOT, env=PLAIN, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        try:
            assert process.stdout is not None
            assert "up\n" == process.stdout.readline()
            process.send_signal(number)
            out, err = process.communicate(timeout=FAR)
        finally:
            process.kill()
    return process.returncode, out, err


@pytest.mark.parametrize("status", [0, 1, 3])
def test_a_process_ends_with_its_status(status: int):
    """What `main` gives is what a shell sees."""
    ended = script(f"""
async def main(): return {status}
run(main())
""")

    assert (status, "", "") == (ended.returncode, ended.stdout, ended.stderr)


def test_everything_written_arrives():
    """Also what was buffered for a pipe, on both streams and by a log handler."""
    ended = script("""
from logging.handlers import MemoryHandler
logging.basicConfig(level=20, handlers=[MemoryHandler(99, target=logging.StreamHandler(sys.stderr))])
async def main():
    print("x" * 5000, end="")
    logging.info("logged")
    return 0
run(main())
""")

    assert (0, "x" * 5000, "logged\n") == (ended.returncode, ended.stdout, ended.stderr)


def test_an_error_is_shown_and_ends_with_1():
    """A bug leaves a traceback, and never a status of success."""
    ended = script("""
async def main(): raise ValueError("a bug")
run(main())
""")

    assert 1 == ended.returncode
    assert ended.stderr.endswith("ValueError: a bug\n")


@pytest.mark.parametrize("end", ["return 0", "raise ValueError('a bug')", "raise SystemExit(2)"])
def test_no_way_out_goes_through_the_interpreter_s_exit(end: str):
    """It dies now and then once a Temporal client was open, with a status that says nothing."""
    ended = script(f"""
async def main(): {end}
run(main())
""")

    assert "interpreter exit" not in ended.stdout


def test_a_reader_that_left_changes_no_status():
    """As in `python -m starter timeline ID | head -1`."""
    ended = script("""
read, write = os.pipe()
os.close(read)
os.dup2(write, 1)
async def main():
    print("to nobody")
    return 0
run(main())
""")

    assert (0, "") == (ended.returncode, ended.stderr)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_after_the_cleanup(number: signal.Signals, status: int):
    """The status is that which shells count, and there is no traceback."""
    ended = told(
        """
async def main():
    try:
        print("up", flush=True)
        await asyncio.Event().wait()
    finally:
        print("cleaned")
run(main())
""",
        number,
    )

    assert (status, "cleaned\n", "") == ended


def test_a_failure_that_is_told_ends_with_its_sentence():
    """A person reads what to mend, not where the code stood."""
    ended = script("""
async def main(): raise LookupError("PORT: it must be a number.")
run(main(), told=(LookupError,))
""")

    assert (1, "", "PORT: it must be a number.\n") == (ended.returncode, ended.stdout, ended.stderr)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_waits_is_told_of_both_signals(number: signal.Signals):
    """It goes on, and ends in its own way."""
    ended = told(
        """
class Slow:
    async def wait(self):
        print("up", flush=True)
        await asyncio.Event().wait()
async def main():
    await until_told(Slow().wait())
    print("going on")
    return 0
run(main())
""",
        number,
    )

    assert (0, "going on\n", "") == ended


def test_what_fails_meanwhile_is_raised():
    """A part of the stack that dies ends the waiting."""
    ended = script("""
async def fails(): raise ValueError("a part died")
async def main():
    try:
        await until_told(fails())
    except ValueError as error:
        print(error)
    return 0
run(main())
""")

    assert (0, "a part died\n", "") == (ended.returncode, ended.stdout, ended.stderr)


def test_signals_are_given_back():
    """After the waiting Ctrl-C means what it meant before."""
    ended = told(
        """
async def ends(): pass
async def main():
    await until_told(ends())
    print("up", flush=True)
    await asyncio.Event().wait()
run(main())
""",
        signal.SIGINT,
    )

    assert (130, "", "") == ended
