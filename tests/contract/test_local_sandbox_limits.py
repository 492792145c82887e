"""What a local sandbox may use, as root and as a plain user, and what code inside sees at each limit."""

from collections.abc import AsyncIterator

import pytest
from e2b import AsyncSandbox, CommandExitException, NotEnoughSpaceException

from tests.sandbox_server import SandboxServer, eventually, server_of

LIMITS = ("--memory-mb", "150", "--processes", "40", "--disk-mb", "20")
HOG = "python3 -c 'held = []\nwhile True: held.append(bytes(range(256)) * 40_000)'"
HIDDEN = """python3 -c '
import ctypes, time
ctypes.CDLL(None).prctl(4, 0)  # PR_SET_DUMPABLE: nobody looks into its memory
held = bytes(range(256)) * 1_500_000
time.sleep(5)'"""
CROWD = "for n in $(seq 200); do sleep 60 & done; wait"


@pytest.fixture(scope="module", params=["this user", "nobody"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[SandboxServer]:
    async with server_of(request.param, options=LIMITS) as started:
        yield started


@pytest.fixture
async def sandbox(server: SandboxServer) -> AsyncIterator[AsyncSandbox]:
    one = await AsyncSandbox.create(**server.client)
    yield one
    await one.kill()


async def test_the_largest_is_killed_for_its_memory(sandbox: AsyncSandbox):
    """A process that takes all memory is killed as by a machine out of memory; others live on."""
    bystander = await sandbox.commands.run("sleep 60", background=True, timeout=0)

    with pytest.raises(CommandExitException) as raised:
        await sandbox.commands.run(f"exec {HOG}")

    assert (-1, "signal: killed") == (raised.value.exit_code, raised.value.error)
    assert [bystander.pid] == [process.pid for process in await sandbox.commands.list()]


async def test_who_hides_its_memory_is_killed_for_it_too(sandbox: AsyncSandbox):
    """A process that lets nobody look into it does not escape."""
    with pytest.raises(CommandExitException) as raised:
        await sandbox.commands.run(f"exec {HIDDEN}")

    assert (-1, "signal: killed") == (raised.value.exit_code, raised.value.error)


async def test_shared_memory_ends_at_half_of_the_memory(sandbox: AsyncSandbox):
    """Files in /dev/shm are memory that no process has: there is room for some, and no more."""
    fitting = await sandbox.commands.run(
        "cd /dev/shm; for n in 1 2 3; do head -c 19000000 /dev/zero > $n; done"
    )
    full = await sandbox.commands.run(
        "cd /dev/shm; for n in 4 5 6 7 8 9; do head -c 19000000 /dev/zero > $n; done; du -sb . | cut -f1"
    )

    assert "" == fitting.stderr
    assert "No space left on device" in full.stderr
    assert 57_000_000 <= int(full.stdout) <= 75 << 20


async def test_no_other_place_is_memory(sandbox: AsyncSandbox):
    """Each file system in memory has a size or cannot be written."""
    mounts = (await sandbox.commands.run("grep ' tmpfs ' /proc/self/mounts")).stdout.splitlines()
    writable = [mount.split()[1] for mount in mounts if mount.split()[3].startswith("rw")]

    assert ["/dev/shm"] == writable  # noqa: S108 -- the sandbox's own
    assert "size=76800k" in next(mount for mount in mounts if "/dev/shm" in mount)  # noqa: S108


async def test_too_many_processes_are_thinned_out(sandbox: AsyncSandbox):
    """The newest go, so that the sandbox stays usable, and what was there before lives on."""
    await sandbox.commands.run("sleep 61", background=True, timeout=0)
    crowd = await sandbox.commands.run(CROWD, background=True, timeout=0)

    async def thinned() -> bool:
        try:
            counted = await sandbox.commands.run(
                "cat /proc/[0-9]*/comm | grep -c sleep; pgrep -fx 'sleep 61'"
            )
        except CommandExitException:  # it was among the newest itself
            return False
        return 20 < int(counted.stdout.split()[0]) <= 40

    await eventually(thinned)
    await crowd.kill()


async def test_a_disk_that_is_full_says_so_and_can_be_emptied(sandbox: AsyncSandbox):
    """Beyond the disk's size uploads are refused and writes fail; what is removed makes room."""
    await sandbox.commands.run(
        "head -c 25000000 /dev/zero > a || true; head -c 15000000 /dev/zero > b || true"
    )

    async def full() -> bool:
        try:
            await sandbox.files.write("c", b"x" * 100_000)
        except NotEnoughSpaceException:
            return True
        return False

    await eventually(full)
    with pytest.raises(CommandExitException):
        await sandbox.commands.run("head -c 1000000 /dev/zero > d")
    await sandbox.commands.run("rm -f a b c d")

    async def room() -> bool:
        return not await full()

    await eventually(room)
