"""How a command or a terminal of the sandbox is started: its environment, directory and pipes."""

import asyncio
import fcntl
import os
import struct
import termios
from asyncio.subprocess import DEVNULL, PIPE, Process
from dataclasses import dataclass, field
from pathlib import Path

from e2b.envd.process.process_pb import PTY, StartRequest

from starter.local.sandbox.guest.paths import Paths
from starter.local.sandbox.guest.processes import SandboxProcess


class DirectoryMissingError(ValueError):
    """The working directory asked for is not there."""


class ProgramMissingError(ValueError):
    """The program asked for cannot be started."""


@dataclass(frozen=True)
class Surroundings:
    """What every process of the sandbox starts with."""

    paths: Paths
    environment: dict[str, str] = field(default_factory=dict[str, str])
    """Variables of every process, under those of its own request."""


async def spawn(request: StartRequest, *, user: str, surroundings: Surroundings) -> SandboxProcess:
    """Start the process of a request.

    Raises:
        DirectoryMissingError: its working directory does not exist.
        ProgramMissingError: its program cannot be executed.

    """
    config = request.process
    if config is None:
        raise ProgramMissingError("the request names no process")
    directory = surroundings.paths.resolve(config.cwd if config.has_field("cwd") else "")
    if not directory.is_dir():
        raise DirectoryMissingError(f"cwd {str(directory)!r} does not exist")
    environment = {**surroundings.environment, "USER": user, "LOGNAME": user, **config.envs}
    command = [config.cmd, *config.args]
    tag = request.tag if request.has_field("tag") else None
    try:
        if request.pty is not None:
            process, terminal = await _start_on_terminal(
                command, directory, environment, size=request.pty.size
            )
            return SandboxProcess(process, config=config, tag=tag, terminal=terminal)
        process = await _start_on_pipes(command, directory, environment, stdin=_wants_stdin(request))
        return SandboxProcess(process, config=config, tag=tag)
    except OSError as error:
        raise ProgramMissingError(f"cannot start {config.cmd!r}: {error.strerror}") from error


def _wants_stdin(request: StartRequest) -> bool:
    # Clients older than the flag always had a standard input.
    return request.stdin if request.has_field("stdin") else True


async def _start_on_pipes(
    command: list[str], directory: Path, environment: dict[str, str], *, stdin: bool
) -> Process:
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=PIPE if stdin else DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        cwd=directory,
        env=environment,
        start_new_session=True,
    )


async def _start_on_terminal(
    command: list[str], directory: Path, environment: dict[str, str], *, size: PTY.Size | None
) -> tuple[Process, int]:
    master, slave = os.openpty()
    try:
        if size is not None:
            resize(master, size)
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=directory,
            env={"TERM": "xterm-256color", **environment},
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
    except BaseException:
        os.close(master)
        raise
    finally:
        os.close(slave)
    return process, master


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def resize(terminal: int, size: PTY.Size) -> None:
    """Set a terminal's rows and columns."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", size.rows, size.cols, 0, 0))
