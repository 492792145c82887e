import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from starter.local.claim import is_owned
from starter.local.home import Home
from starter.local.parts import Part, PartFailed
from starter.local.postgres_cluster import root_directory
from starter.local.processes import program_of
from starter.local.stack import open_stack
from tests.held_stack import (
    HOLD,
    ROOT,
    SERVERS,
    alive,
    all_gone,
    children,
    connect,
    hold,
    s3_client,
)


@pytest.fixture
def place() -> Iterator[Path]:
    """A data directory that a plain user can reach, as a checkout usually is."""
    directory = Path(tempfile.mkdtemp(prefix="nightshift-test-"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)


async def test_data_and_addresses_survive_a_restart(place: Path):
    """A stopped stack leaves no process; the next has the same addresses and the same data."""
    async with open_stack(ROOT, data=place, parts=SERVERS, environment={}) as first:
        connection = await connect(first)
        await connection.execute("CREATE TABLE kept AS SELECT 7 AS seven")
        await connection.close()
        async with s3_client(first) as client:
            await client.put_object(Bucket=first.environment["PROJECT_SNAPSHOT_BUCKET"], Key="k", Body=b"7")
        processes = children(place)
    assert 4 == len(processes)
    assert [] == alive(processes)

    async with open_stack(ROOT, data=place, parts=SERVERS, environment={}) as second:
        assert first.environment == second.environment
        connection = await connect(second)
        assert 7 == await connection.fetchval("SELECT seven FROM kept")
        await connection.close()
        async with s3_client(second) as client:
            await client.head_object(Bucket=second.environment["PROJECT_SNAPSHOT_BUCKET"], Key="k")


@pytest.mark.skipif(sys.platform != "linux", reason="macOS has no parent-death signal")
async def test_kill_9_leaves_no_orphan_and_the_next_start_works(place: Path):
    """However the process that runs the stack dies, nothing is left running and nothing blocks the next."""
    holder = await hold(place, SERVERS)
    processes = children(place)
    holder.kill()
    await holder.wait()
    async with open_stack(ROOT, data=place, parts=SERVERS, environment={}) as stack:
        assert [] == alive(processes)
        connection = await connect(stack)
        await connection.close()
        replaced = children(place)

    await all_gone(processes | replaced)
    log = (place / "logs" / "postgres.log").read_text()
    assert "database system was not properly shut down" not in log


async def test_a_part_that_dies_ends_the_stack_with_its_name(place: Path):
    """A crashed part stops the others and the process fails, naming it with the end of its log."""
    holder = await hold(place, frozenset({Part.POSTGRES, Part.REDIS}))
    processes = children(place)
    redis = next(pid for pid in processes if program_of(pid).startswith(("valkey", "redis")))
    os.kill(redis, signal.SIGKILL)
    _, error = await holder.communicate()

    assert 1 == holder.returncode
    assert b"redis: ended by itself with status -9" in error
    assert b"set REDIS_URL" in error
    assert [] == alive(processes)


async def test_two_starts_at_once_end_with_one_stack(place: Path):
    """Whoever is second uses the first's parts, and sees when the first is gone."""
    first, second = await asyncio.gather(
        hold(place, frozenset({Part.REDIS})), hold(place, frozenset({Part.REDIS}))
    )
    processes = children(place)
    owner = json.loads((place / "stack.json").read_text())["pid"]
    other = second if owner == first.pid else first
    assert 1 == len(processes)
    os.kill(owner, signal.SIGINT)
    _, error = await other.communicate()

    assert b"the process that ran it has ended" in error
    await (first if other is second else second).wait()
    assert [] == alive(processes)


async def test_a_stale_lock_file_of_postgres_does_not_block(place: Path):
    """After a power cut the number in the lock file may belong to any other process."""
    async with open_stack(ROOT, data=place, parts=frozenset({Part.POSTGRES}), environment={}):
        lock = root_directory(Home.open(place), fast=False) / "data" / "postmaster.pid"
        content = lock.read_text()
    lock.write_text(content.replace(content.splitlines()[0], str(os.getpid()), 1))
    async with open_stack(ROOT, data=place, parts=frozenset({Part.POSTGRES}), environment={}) as stack:
        connection = await connect(stack)
        await connection.close()


async def test_data_of_another_version_is_refused(place: Path):
    """Data that other programs wrote is named with the ways out, and left as it is."""
    async with open_stack(ROOT, data=place, parts=frozenset({Part.POSTGRES}), environment={}):
        pass
    (place / "postgres" / "data" / "PG_VERSION").write_text("12\n")
    with pytest.raises(PartFailed, match=r"is of Postgres 12(.|\n)*set DATABASE_URL"):
        async with open_stack(ROOT, data=place, parts=frozenset({Part.POSTGRES}), environment={}):
            pass

    assert not is_owned(Home.open(place))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's Postgres runs as another user")
async def test_root_in_a_closed_checkout(tmp_path: Path):
    """Under a closed directory the cluster lives elsewhere, and no mode of what is not ours changes."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    data = closed / "n"
    try:
        async with open_stack(ROOT, data=data, parts=frozenset({Part.POSTGRES}), environment={}) as stack:
            connection = await connect(stack)
            await connection.close()
            outside = root_directory(stack.home, fast=False)

        assert not outside.is_relative_to(closed)
        assert outside == (data / "postgres").resolve()
        assert 0o700 == closed.stat().st_mode & 0o777
    finally:
        shutil.rmtree(root_directory(Home.open(data), fast=False).parent)


async def test_a_start_that_is_interrupted_leaves_nothing(place: Path):
    """Ctrl-C in the middle of a start stops what had started already."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", HOLD, str(place), *sorted(SERVERS)),
        stderr=asyncio.subprocess.DEVNULL,
        cwd=ROOT,
    )
    async with asyncio.timeout(60):
        while not (place / "stack.json").exists() or not children(place):
            await asyncio.sleep(0.01)
    processes = children(place)
    process.send_signal(signal.SIGINT)
    await process.wait()

    assert [] == alive(processes)
    assert not is_owned(Home.open(place))


async def test_a_death_is_named_instead_of_what_it_made_fail(place: Path):
    """Whoever works with the stack learns that a part died, not only that a connection broke."""

    async def work() -> None:
        async with open_stack(ROOT, data=place, parts=frozenset({Part.REDIS}), environment={}) as stack:
            (pid,) = children(place)
            os.kill(pid, signal.SIGKILL)
            with suppress(PartFailed):
                await stack.wait()
            raise ConnectionError("it broke")

    with pytest.raises(PartFailed, match="redis: ended by itself") as failed:
        await work()

    assert isinstance(failed.value.__cause__, ConnectionError)
