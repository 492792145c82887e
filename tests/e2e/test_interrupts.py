"""How long a word of the founder takes to reach what runs, with real processes."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle

from activities.heartbeat import BEAT
from starter.commands import start_build

Condition = Callable[[], Awaitable[bool]]
BUSY = 2.0
"""Slack, seconds: beside the beats a word passes the server, a workflow task and a command in the sandbox."""
PROMISED = 2 * BEAT.total_seconds()
"""A cancel reaches an activity with its next beat; within another it has let go."""
pytestmark = pytest.mark.usefixtures("worker")
WORDS = [("steer", "use blue"), ("pause", None), ("stop", "enough")]


@pytest.mark.parametrize(("signal", "word"), WORDS)
async def test_a_streaming_reply_is_left_at_once(everything, model_control, signal, word):
    """The request to the model is dropped within two seconds of a steer, a pause or a stop."""
    await model_control.post("/_control/hold", json={"after_events": 3, "after": 1})
    async with _build(everything, f"reply-{signal}", "turns=3") as handle:
        await _until(lambda: _is_held(model_control, 1))
        took = await _seconds(handle, signal, word, lambda: _is_held(model_control, 0))

    assert PROMISED + BUSY > took


@pytest.mark.parametrize(("signal", "word"), WORDS)
async def test_a_running_command_is_killed_at_once(everything, signal, word):
    """A command is killed in its sandbox within two seconds of a steer, a pause or a stop."""
    seconds = 4711 + WORDS.index((signal, word))
    async with _build(everything, f"command-{signal}", f"turns=3 sleep={seconds}") as handle:
        await _until(lambda: _is_asleep(seconds, True))
        took = await _seconds(handle, signal, word, lambda: _is_asleep(seconds, False))

    assert PROMISED + BUSY > took


@asynccontextmanager
async def _build(everything, name: str, words: str) -> AsyncIterator[WorkflowHandle]:
    """A build of the scripted model that is stopped at the end."""
    request = {"idea": f"[[script:long {words}]]", "project": name}
    handle = await start_build(everything.client, request, name)
    try:
        yield handle
    finally:
        await handle.signal("stop", "the test is over")
        with pytest.raises(WorkflowFailureError):
            await handle.result()


async def _seconds(handle: WorkflowHandle, signal: str, word: str | None, is_so: Condition) -> float:
    """How long after a signal a condition holds."""
    begun = time.monotonic()
    await handle.signal(signal, args=[] if word is None else [word])
    await _until(is_so)
    return time.monotonic() - begun


async def _is_held(control: httpx2.AsyncClient, streams: int) -> bool:
    return (await control.get("/_control/hold")).json()["waiting"] == streams


async def _is_asleep(seconds: int, expected: bool) -> bool:  # noqa: FBT001 what is waited for
    """Whether a `sleep` of so many seconds runs, or none; the machine sees into its sandboxes."""
    asked = f"sleep\0{seconds}\0".encode()
    return expected == any(asked == _words_of(each) for each in Path("/proc").glob("[0-9]*/cmdline"))


def _words_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


async def _until(is_so: Condition) -> None:
    async with asyncio.timeout(60):
        while not await is_so():
            await asyncio.sleep(0.02)
