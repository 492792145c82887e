import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from starter.local.claim import claim, is_owned, running_parts
from starter.local.home import Home
from starter.local.parts import Part, Started
from starter.local.processes import started_at

HOLD = """
import asyncio, signal
from pathlib import Path
from starter.local.claim import claim
from starter.local.home import Home

async def main():
    claimed = await claim(Home.open(Path({data!r})), progress=print)
    claimed.announce({{}})
    print("held", flush=True)
    signal.pause()

asyncio.run(main())
"""
REDIS = Started(
    part=Part.REDIS, address="/s/redis.sock", version="9", environment={"REDIS_URL": "unix://:p@/s"}
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "n")


def silent(_line: str) -> None:
    return


async def start_holder(home: Home) -> asyncio.subprocess.Process:
    code = HOLD.format(data=str(home.directory))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert process.stdout is not None
    assert b"held\n" == await process.stdout.readline()
    return process


async def test_the_second_shares_what_the_first_announced(home: Home):
    """Two starts at once end with one stack, used by both."""
    first = await claim(home, progress=silent)
    second = asyncio.create_task(claim(home, progress=silent))
    await asyncio.sleep(0)
    first.announce({Part.REDIS: REDIS})

    assert not (await second).owned
    assert {Part.REDIS: REDIS} == running_parts(home)

    first.release()


async def test_the_second_takes_over_when_the_first_gives_up(home: Home):
    """A start that failed does not keep the next from trying."""
    first = await claim(home, progress=silent)
    second = asyncio.create_task(claim(home, progress=silent))
    await asyncio.sleep(0)
    first.release()
    claimed = await second

    assert claimed.owned

    claimed.release()


async def test_the_secrets_told_are_private(home: Home):
    """What the owner tells others is for the same user only, and gone when it stops."""
    claimed = await claim(home, progress=silent)
    claimed.announce({Part.REDIS: REDIS})

    assert 0o600 == (home.directory / "stack.json").stat().st_mode & 0o777

    claimed.release()
    assert not (home.directory / "stack.json").exists()
    assert {} == running_parts(home)


async def test_an_owner_that_was_killed_is_noticed(home: Home):
    """A kill -9 leaves no lock behind: the next start owns the stack."""
    holder = await start_holder(home)
    assert is_owned(home)
    holder.kill()
    await holder.wait()

    assert not is_owned(home)
    claimed = await claim(home, progress=silent)
    assert claimed.owned
    claimed.release()


async def test_what_a_dead_owner_left_running_is_ended_first(home: Home):
    """Children that outlive a killed owner are ended before anything starts on their data."""
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", "import signal; signal.pause()")
    state = {"pid": 1, "started_at": "never", "ready": True, "children": {child.pid: started_at(child.pid)}}
    (home.directory / "stack.json").write_text(json.dumps(state))
    lines: list[str] = []
    claimed = await claim(home, progress=lines.append)

    assert -signal.SIGINT == await child.wait() or child.returncode == 1
    assert ["the stack was not stopped cleanly: waiting for its last processes to end"] == lines
    assert claimed.owned

    claimed.release()


async def test_a_process_that_only_has_the_number_is_left_alone(home: Home):
    """A number that the system gave to another process since is not ours to end."""
    state = {"pid": 1, "started_at": "never", "ready": True, "children": {os.getpid(): "another time"}}
    (home.directory / "stack.json").write_text(json.dumps(state))
    claimed = await claim(home, progress=silent)

    assert claimed.owned

    claimed.release()
