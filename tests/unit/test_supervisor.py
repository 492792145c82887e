import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from starter.local.parts import PartFailed
from starter.local.processes import started_at
from starter.local.supervisor import Child, Service, Supervisor, plain_environment, tail

STAY = "import signal; print('up', flush=True); signal.pause()"
NOTE_STOP = (
    "import signal, sys\n"
    "def stop(*_):\n"
    "    open({file!r}, 'a').write({name!r} + ' ')\n"
    "    sys.exit()\n"
    "signal.signal(signal.{signal}, stop)\n"
    "print('up', flush=True)\n"
    "signal.pause()\n"
)
SUPERVISE = """
import asyncio
from pathlib import Path
from starter.local.supervisor import Service, Supervisor

async def main():
    supervisor = Supervisor(Path({logs!r}))
    argv = ({python!r}, "-c", "import signal; signal.pause()")
    child = await supervisor.start(Service(name="child", argv=argv))
    print(child.process.pid, flush=True)
    await supervisor.wait()

asyncio.run(main())
"""


@pytest.fixture
async def supervisor(tmp_path: Path) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(tmp_path)
    yield supervisor
    await supervisor.stop()


def python(name: str, code: str, **options: object) -> Service:
    return Service(name=name, argv=(sys.executable, "-c", code), **options)


def says_up(log: Path):
    async def ready(_pid: int) -> bool:
        return "up" in tail(log)

    return ready


async def gone(pid: int) -> None:
    async with asyncio.timeout(20):
        while started_at(pid):
            await asyncio.sleep(0.01)


async def start_noting(supervisor: Supervisor, tmp_path: Path, name: str, **options: object) -> Child:
    number = options.get("stop_signal", signal.SIGTERM)
    code = NOTE_STOP.format(file=str(tmp_path / "stops"), name=name, signal=signal.Signals(number).name)
    return await supervisor.start(python(name, code, ready=says_up(tmp_path / f"{name}.log"), **options))


async def test_start_waits_until_ready(supervisor: Supervisor, tmp_path: Path):
    """A service counts as started once it answers that it is ready, not before."""
    child = await supervisor.start(python("one", STAY, ready=says_up(tmp_path / "one.log")))

    assert "up\n" == (tmp_path / "one.log").read_text()
    assert child.process.returncode is None


async def test_a_child_that_never_gets_ready_is_named_with_its_log(supervisor: Supervisor):
    """Past the time limit the error names the part and shows the end of its log."""

    async def never(_pid: int) -> bool:
        return False

    service = python("stuck", STAY, ready=never, ready_limit=timedelta(seconds=1), fix="set STUCK_URL")
    with pytest.raises(PartFailed, match=r"stuck: was not ready within 1 s(.|\n)*up\n.*set STUCK_URL"):
        await supervisor.start(service)


async def test_a_child_that_ends_before_it_is_ready_is_named_with_its_log(supervisor: Supervisor):
    """A start that dies says so at once instead of using up the limit."""

    async def never(_pid: int) -> bool:
        return False

    with pytest.raises(PartFailed, match=r"broken: ended before it was ready(.|\n)*no such flag"):
        await supervisor.start(python("broken", "import sys; sys.exit('no such flag')", ready=never))


async def test_a_program_that_is_not_there(supervisor: Supervisor):
    """A missing program is a failed part with the advice of that part."""
    with pytest.raises(PartFailed, match=r"cannot run /does/not/exist.*\n.*install it"):
        await supervisor.start(Service(name="absent", argv=("/does/not/exist",), fix="install it"))


async def test_only_this_runs_output_is_shown(supervisor: Supervisor, tmp_path: Path):
    """The end of the log that an error shows begins where this run began."""
    (tmp_path / "again.log").write_text("an old error\n")

    async def never(_pid: int) -> bool:
        return False

    with pytest.raises(PartFailed) as failed:
        await supervisor.start(python("again", "import sys; sys.exit('a new one')", ready=never))

    assert "a new one" in failed.value.why
    assert "an old error" not in failed.value.why


async def test_one_death_stops_the_others_and_is_told(supervisor: Supervisor, tmp_path: Path):
    """A child that dies by itself ends the stack with an error that names it."""
    other = await start_noting(supervisor, tmp_path, "other")
    dying = await supervisor.start(python("dying", STAY, ready=says_up(tmp_path / "dying.log")))
    os.kill(dying.process.pid, signal.SIGKILL)

    with pytest.raises(PartFailed, match="dying: ended by itself with status -9"):
        await supervisor.wait()

    assert 0 == other.process.returncode
    assert supervisor.failure is not None


async def test_stages_stop_from_the_highest(supervisor: Supervisor, tmp_path: Path):
    """What uses a service is stopped before it, each by its own signal."""
    await start_noting(supervisor, tmp_path, "database", stop_signal=signal.SIGINT)
    await start_noting(supervisor, tmp_path, "app", stage=2)
    await start_noting(supervisor, tmp_path, "server", stage=1)
    await supervisor.stop()

    assert "app server database " == (tmp_path / "stops").read_text()


async def test_a_child_that_ignores_its_signal_is_killed(supervisor: Supervisor, tmp_path: Path):
    """Past its limit a child is killed with everything in its session."""
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + STAY
    child = await supervisor.start(
        python("deaf", code, ready=says_up(tmp_path / "deaf.log"), stop_limit=timedelta(seconds=0.2))
    )
    await supervisor.stop()

    assert -signal.SIGKILL == child.process.returncode


async def test_no_credential_reaches_a_child(monkeypatch: pytest.MonkeyPatch):
    """Children get a short list of plain variables, whatever our environment holds."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-secret")

    assert "sk-secret" not in plain_environment().values()
    assert "PATH" in plain_environment()


async def test_a_long_log_is_set_aside(supervisor: Supervisor, tmp_path: Path):
    """Logs do not grow without end: a long one is kept once, the new one starts empty."""
    (tmp_path / "big.log").write_bytes(b"x" * 5_000_001)
    await supervisor.start(python("big", STAY, ready=says_up(tmp_path / "big.log")))

    assert 5_000_001 == (tmp_path / "big.log.1").stat().st_size
    assert "up\n" == (tmp_path / "big.log").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="macOS has no parent-death signal")
async def test_kill_9_of_the_supervisor_leaves_no_child(tmp_path: Path):
    """The kernel ends the children of a supervisor that could not."""
    code = SUPERVISE.format(logs=str(tmp_path), python=sys.executable)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert process.stdout is not None
    child = int(await process.stdout.readline())
    assert started_at(child)
    process.kill()
    await process.wait()

    await gone(child)
