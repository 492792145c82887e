"""How every entry point ends: flushed, and without the interpreter's exit.

An interpreter that opened a Temporal client now and then dies while it exits, with a status of 134 or 139.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import traceback
from collections.abc import Awaitable, Coroutine
from typing import Any, NoReturn

INTERRUPTED = 130
"""Status after Ctrl-C, as shells count it."""
TERMINATED = 143
"""Status after SIGTERM, as shells count it."""


def finish(code: int) -> NoReturn:
    """Flush what was written and end the process with this status."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # the reader may be gone
            stream.flush()
    os._exit(code)


def run(main: Coroutine[None, None, int], *, told: tuple[type[Exception], ...] = ()) -> NoReturn:
    """Run an entry point and end with its status; Ctrl-C and SIGTERM after its cleanup.

    Failures that are `told` end it with their sentence, a bug with its traceback.
    """
    try:
        code = asyncio.run(_heeding_sigterm(main))
    except KeyboardInterrupt:
        code = INTERRUPTED
    except asyncio.CancelledError:
        code = TERMINATED
    except told as failure:
        print(failure, file=sys.stderr)
        code = 1
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    except BaseException:  # noqa: BLE001 the interpreter must not be left to end this process
        traceback.print_exc()
        code = 1
    finish(code)


async def _heeding_sigterm(main: Coroutine[None, None, int]) -> int:
    """Let SIGTERM cancel an entry point, as Ctrl-C does, so that what it started does not stay behind."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await main


async def until_told(other: Awaitable[object]) -> None:
    """Wait for SIGINT or SIGTERM; what `other` raises meanwhile is raised here."""
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told.set)
    waiting: list[asyncio.Future[Any]] = [
        asyncio.ensure_future(told.wait()),
        asyncio.ensure_future(other),
    ]
    try:
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
