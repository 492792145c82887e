"""E2B's public behaviour, asked by the unmodified SDK: of the local sandbox server, and of a real account.

What needs no look behind the server takes `server` and runs against both: against E2B where E2B_API_KEY is
set, marked `e2b_cloud`. The rest takes `local`.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator

import httpx2
import pytest
from e2b import (
    AsyncSandbox,
    AuthenticationException,
    CommandExitException,
    InvalidArgumentException,
    NotEnoughSpaceException,
    NotFoundException,
    PtySize,
    SandboxException,
    SandboxNotFoundException,
    SandboxNotRunningException,
    SandboxQuery,
    SandboxState,
    TimeoutException,
)
from e2b.sandbox.filesystem.watch_handle import FilesystemEvent

from tests.sandbox_server import CloudAccount, SandboxServer, eventually, processes_of, sandbox_server

HTTP_SERVER = "python3 -u -m http.server {port} --bind {address}"


@pytest.fixture(scope="module")
async def local() -> AsyncIterator[SandboxServer]:
    # The account's limits are tried in test_sandbox_lifetimes.py; here no test uses up the next one's.
    async with sandbox_server(options=("--creations", "100")) as started:
        yield started


@pytest.fixture(scope="module", params=["local", pytest.param("cloud", marks=pytest.mark.e2b_cloud)])
def server(request: pytest.FixtureRequest, local: SandboxServer) -> SandboxServer | CloudAccount:
    return local if request.param == "local" else CloudAccount.of_environment()


@pytest.fixture(scope="module")
async def sandbox(server: SandboxServer | CloudAccount) -> AsyncIterator[AsyncSandbox]:
    one = await AsyncSandbox.create(**server.client, envs={"GREETING": "hello"})
    yield one
    await one.kill()


@pytest.fixture(scope="module")
async def local_sandbox(local: SandboxServer) -> AsyncSandbox:
    return await AsyncSandbox.create(**local.client)


async def test_command_output_and_environment(sandbox: AsyncSandbox):
    """A command has its output, the sandbox's variables, its own, and the sandbox's home."""
    script = 'echo "$GREETING $WHOM from $HOME"; pwd; echo warned >&2'

    result = await sandbox.commands.run(script, envs={"WHOM": "you"})

    assert ("hello you from /home/user\n/home/user\n", "warned\n", 0) == (
        result.stdout,
        result.stderr,
        result.exit_code,
    )


async def test_environment_is_clean(local_sandbox: AsyncSandbox):
    """Nothing of the server's environment reaches a command."""
    result = await local_sandbox.commands.run("env; cat /proc/*/environ | tr '\\0' '\\n'")

    assert "NIGHTSHIFT" not in result.stdout
    assert "a key of this test" not in result.stdout


@pytest.mark.parametrize(
    ("command", "code", "error"),
    [
        ("exit 3", 3, "exit status 3"),
        ("kill -KILL $$", -1, "signal: killed"),
        ("nosuch", 127, "exit status 127"),
    ],
)
async def test_failures_have_their_code(sandbox: AsyncSandbox, command: str, code: int, error: str):
    """A failed command has its exit code, a killed one -1 and the signal's name."""
    with pytest.raises(CommandExitException) as raised:
        await sandbox.commands.run(command)

    assert (code, error) == (raised.value.exit_code, raised.value.error)


async def test_missing_directory_is_refused(sandbox: AsyncSandbox):
    """A working directory that is not there is an invalid argument, not a failed command."""
    with pytest.raises(InvalidArgumentException, match="cwd '/nowhere' does not exist"):
        await sandbox.commands.run("true", cwd="/nowhere")


async def test_unknown_user_is_refused(sandbox: AsyncSandbox):
    """A user the sandbox does not have is refused by name."""
    with pytest.raises(AuthenticationException, match="invalid username"):
        await sandbox.commands.run("true", user="someone")


async def test_output_is_streamed(sandbox: AsyncSandbox):
    """Output arrives while the command still waits for its input."""
    arrived: asyncio.Queue[str] = asyncio.Queue()
    handle = await sandbox.commands.run(
        "echo ready; read line; echo got $line", background=True, stdin=True, on_stdout=arrived.put
    )

    assert await arrived.get() == "ready\n"

    await sandbox.commands.send_stdin(handle.pid, "a line\n")

    assert await arrived.get() == "got a line\n"
    assert (await handle.wait()).exit_code == 0


async def test_closing_stdin_ends_input(sandbox: AsyncSandbox):
    """Closing standard input is end of file for the command; streamed input keeps its order."""
    handle = await sandbox.commands.run("cat | wc -c", background=True, stdin=True)

    async with sandbox.commands.stream_input(handle.pid) as stream:
        for _ in range(5):
            await stream.send(b"x" * 1000)
    await sandbox.commands.close_stdin(handle.pid)

    assert (await handle.wait()).stdout.strip() == "5000"


async def test_large_output_is_whole(sandbox: AsyncSandbox):
    """Twenty megabytes of output arrive to the last byte."""
    result = await sandbox.commands.run("head -c 20000000 /dev/zero | tr '\\0' x")

    assert len(result.stdout) == 20_000_000


async def test_timeout_kills_the_command_only(sandbox: AsyncSandbox):
    """At its timeout a command is killed, what it left in the background is not."""
    with pytest.raises(TimeoutException):
        await sandbox.commands.run("setsid sleep 77 >/dev/null 2>&1 & exec sleep 78", timeout=0.5)

    async def only_background_left() -> bool:
        result = await sandbox.commands.run("cat /proc/*/cmdline | tr '\\0' ' '")
        return "sleep 77" in result.stdout and "sleep 78" not in result.stdout

    await eventually(only_background_left)
    await sandbox.commands.run("pkill -x sleep")


async def test_data_plane_cannot_be_killed_from_inside(local_sandbox: AsyncSandbox):
    """A careless kill of everything ends the commands, not the sandbox; the dead are buried."""
    await local_sandbox.commands.run("(setsid sleep 60 &) >/dev/null 2>&1")
    for name in ("KILL", "STOP", "TERM", "INT", "HUP"):
        await local_sandbox.commands.run(f"kill -{name} 1")
    with pytest.raises(CommandExitException):
        await local_sandbox.commands.run("kill -9 -1; exit 1")

    async def all_buried() -> bool:
        left = await local_sandbox.commands.run("cat /proc/[0-9]*/stat | cut -d' ' -f2-3")
        return "sleep" not in left.stdout and " Z" not in left.stdout

    await eventually(all_buried)


async def test_disconnecting_kills_nothing(sandbox: AsyncSandbox):
    """A command outlives its reader, is listed, can be joined again, and is killed by pid once."""
    handle = await sandbox.commands.run("sleep 60", background=True, timeout=0)
    await handle.disconnect()

    assert handle.pid in [process.pid for process in await sandbox.commands.list()]

    joined = await sandbox.commands.connect(handle.pid)

    assert await sandbox.commands.kill(handle.pid)
    with pytest.raises(CommandExitException, match="code -1"):
        await joined.wait()
    assert handle.pid not in [process.pid for process in await sandbox.commands.list()]


async def test_exit_code_is_kept_a_while(sandbox: AsyncSandbox):
    """A command joined after its end still tells its exit code; an unknown one is not found."""
    handle = await sandbox.commands.run("exit 7", background=True)
    with pytest.raises(CommandExitException):
        await handle.wait()

    late = await sandbox.commands.connect(handle.pid)

    with pytest.raises(CommandExitException) as raised:
        await late.wait()
    assert raised.value.exit_code == 7
    with pytest.raises(NotFoundException):
        await sandbox.commands.connect(999_999)
    assert not await sandbox.commands.kill(999_999)


async def test_commands_run_side_by_side(sandbox: AsyncSandbox):
    """Twenty waiting commands take about as long as one."""
    started = time.monotonic()

    results = await asyncio.gather(*[sandbox.commands.run(f"sleep 1; echo {n}") for n in range(20)])

    assert [f"{n}\n" for n in range(20)] == [result.stdout for result in results]
    assert time.monotonic() - started < 10


async def test_terminal(sandbox: AsyncSandbox):
    """A terminal has a size, follows a new one, echoes input and ends with its shell."""
    seen: list[bytes] = []
    terminal = await sandbox.pty.create(PtySize(rows=30, cols=90), on_data=seen.append)

    async def shows(text: bytes) -> None:
        async def found() -> bool:
            return text in b"".join(seen)

        await eventually(found)

    await sandbox.pty.send_stdin(terminal.pid, b"stty size\n")
    await shows(b"30 90")
    await sandbox.pty.resize(terminal.pid, PtySize(rows=40, cols=100))
    await sandbox.pty.send_stdin(terminal.pid, b"stty size; tty; exit\n")
    await shows(b"40 100")

    assert (await terminal.wait()).exit_code == 0
    assert b"/dev/pts/" in b"".join(seen)


async def test_files_round_trip(sandbox: AsyncSandbox):
    """Text, bytes and several files are read as they were written, parents made."""
    written = await sandbox.files.write("deep/er/text.txt", "grüße\n")
    several = [{"path": f"many/{n}.bin", "data": bytes([n]) * 70_000} for n in range(3)]
    await sandbox.files.write_files(several)

    assert written.path == "/home/user/deep/er/text.txt"
    assert await sandbox.files.read("~/deep/er/text.txt") == "grüße\n"
    for entry in several:
        assert entry["data"] == bytes(await sandbox.files.read(entry["path"], format="bytes"))


@pytest.mark.parametrize("gzip", [False, True])
async def test_streamed_files_round_trip(sandbox: AsyncSandbox, *, gzip: bool):
    """A streamed upload and a streamed download are whole, compressed or not, with metadata kept."""

    async def chunks() -> AsyncIterator[bytes]:
        for n in range(50):
            yield bytes([n]) * 100_000

    await sandbox.files.write("big.bin", chunks(), gzip=gzip, metadata={"origin": "test"})
    stream = await sandbox.files.read("big.bin", format="stream", gzip=gzip)
    received = b"".join([chunk async for chunk in stream])

    assert received == b"".join(bytes([n]) * 100_000 for n in range(50))
    info = await sandbox.files.get_info("big.bin")
    assert (5_000_000, {"origin": "test"}) == (info.size, info.metadata)


async def test_missing_files_and_directories(sandbox: AsyncSandbox):
    """Reading what is not there, or a directory, is refused as E2B refuses it."""
    await sandbox.files.make_dir("folder")

    with pytest.raises(NotFoundException):
        await sandbox.files.read("absent")
    with pytest.raises(InvalidArgumentException):
        await sandbox.files.read("folder")
    with pytest.raises(NotFoundException):
        await sandbox.files.list("absent")
    assert not await sandbox.files.make_dir("folder")


async def test_full_disk_is_told(sandbox: AsyncSandbox):
    """An upload that the disk cannot hold says so, however long it is, and the next one works."""
    with pytest.raises(NotEnoughSpaceException):
        await sandbox.files.write("/dev/full", b"x" * 3_000_000, use_octet_stream=True)

    await sandbox.files.write("after.txt", "fits")


async def test_directories(sandbox: AsyncSandbox):
    """Entries are listed to a depth, moved and removed; a link tells its target."""
    await sandbox.files.write("tree/a/b/c.txt", "c")
    await sandbox.commands.run("ln -s a tree/link; chmod 640 tree/a/b/c.txt")

    assert ["a", "link"] == [entry.name for entry in await sandbox.files.list("tree")]
    assert ["a", "b", "link"] == sorted(entry.name for entry in await sandbox.files.list("tree", depth=2))
    link = await sandbox.files.get_info("tree/link")
    assert link.symlink_target == "/home/user/tree/a"
    assert (await sandbox.files.get_info("tree/a/b/c.txt")).permissions == "-rw-r-----"

    await sandbox.files.rename("tree/a/b/c.txt", "tree/moved/d.txt")
    await sandbox.files.remove("tree/a")

    assert await sandbox.files.exists("tree/moved/d.txt")
    assert not await sandbox.files.exists("tree/a")


async def test_watching(sandbox: AsyncSandbox):
    """A watched directory tells what was created and removed in it."""
    await sandbox.files.make_dir("watched")
    events: list[FilesystemEvent] = []
    watch = await sandbox.files.watch_dir("watched", on_event=events.append)

    async def told(name: str, kind: str) -> None:
        async def found() -> bool:
            return (name, kind) in [(event.name, event.type.value) for event in events]

        await eventually(found)

    await sandbox.files.write("watched/new.txt", "1")
    await told("new.txt", "create")
    await sandbox.files.remove("watched/new.txt")
    await told("new.txt", "remove")
    await watch.stop()


async def test_signed_addresses(local: SandboxServer, local_sandbox: AsyncSandbox):
    """A signed address needs no key, serves one path for a time, and refuses any change to it."""
    await local_sandbox.files.write("signed.txt", "content")
    async with httpx2.AsyncClient(trust_env=False) as http:
        good = local_sandbox.download_url("signed.txt", use_signature_expiration=60)
        uploaded = await http.post(local_sandbox.upload_url("up.txt"), files={"file": ("up.txt", b"sent")})

        assert (await http.get(good)).text == "content"
        assert uploaded.status_code == 200
        assert (await http.get(good.replace("signed.txt", "other.txt"))).status_code in {401, 502}
        expired = local_sandbox.download_url("signed.txt", use_signature_expiration=-1)
        assert (
            await http.get(expired, headers={"e2b-sandbox-id": local_sandbox.sandbox_id})
        ).status_code == 401
        without = await http.get(f"{local.url}/files", params={"path": "signed.txt"})
        assert without.status_code == 502
    assert await local_sandbox.files.read("up.txt") == "sent"


async def test_data_plane_needs_the_token(local: SandboxServer, local_sandbox: AsyncSandbox):
    """Knowing a sandbox's id is not enough to read its files, nor to be shown its data plane by name."""
    async with httpx2.AsyncClient(trust_env=False) as http:
        by_header = {"e2b-sandbox-id": local_sandbox.sandbox_id}
        by_name = {"host": local_sandbox.get_host(49983)}
        for headers in (by_header, by_name):
            answer = await http.get(f"{local.url}/files?path=signed.txt", headers=headers)
            assert answer.status_code == 401


async def test_wrong_key_is_refused(server: SandboxServer | CloudAccount):
    """The control plane answers nobody without its key."""
    with pytest.raises(AuthenticationException):
        await AsyncSandbox.create(**{**server.client, "api_key": "wrong"})


async def test_list_by_metadata_in_pages(server: SandboxServer | CloudAccount):
    """Listing filters by metadata and state, and pages without missing or repeating one."""
    tags = {"suite": f"list & page {uuid.uuid4()}", "n": "1"}
    made = [await AsyncSandbox.create(**server.client, metadata=tags) for _ in range(3)]
    await made[1].pause()
    query = SandboxQuery(metadata={"suite": tags["suite"]})
    pages = AsyncSandbox.list(query, limit=2, **server.client)
    sizes: list[int] = []
    seen: list[str] = []
    while pages.has_next:
        page = await pages.next_items()
        sizes.append(len(page))
        seen += [info.sandbox_id for info in page]

    assert ([2, 1], [one.sandbox_id for one in made]) == (sizes, seen)
    paused = AsyncSandbox.list(
        SandboxQuery(metadata={"suite": tags["suite"]}, state=[SandboxState.PAUSED]), **server.client
    )
    assert [made[1].sandbox_id] == [info.sandbox_id for info in await paused.next_items()]
    nothing = AsyncSandbox.list(SandboxQuery(metadata={"suite": "other"}), **server.client)
    assert await nothing.next_items() == []
    for one in made:
        assert await one.kill()


async def test_creation_is_idempotent_by_key(server: SandboxServer | CloudAccount):
    """Two creations under one key are one sandbox, also at the same time."""
    key = f"tests-{uuid.uuid4()}"
    create = [AsyncSandbox.create(**server.client, idempotency_key=key) for _ in range(3)]

    made = await asyncio.gather(*create)

    assert len({one.sandbox_id for one in made}) == 1
    await made[0].kill()


async def test_paused_sandbox_is_frozen_and_comes_back(server: SandboxServer | CloudAccount):
    """A paused sandbox answers as not running; connecting brings back its files and its processes."""
    one = await AsyncSandbox.create(**server.client)
    counting = "while sleep 0.05; do echo x >> ticks; done"
    handle = await one.commands.run(counting, background=True, timeout=0)

    async def ticking() -> bool:
        return await one.files.exists("ticks")

    await eventually(ticking)

    assert await one.pause()
    assert not await one.pause()
    assert not await one.is_running()
    with pytest.raises(SandboxNotRunningException):
        await one.commands.run("true")
    with pytest.raises(SandboxNotRunningException):
        await one.files.read("ticks")

    again = await AsyncSandbox.connect(one.sandbox_id, **server.client)

    assert again.sandbox_id == one.sandbox_id
    assert handle.pid in [process.pid for process in await again.commands.list()]
    size = (await again.files.get_info("ticks")).size

    async def goes_on() -> bool:
        return (await again.files.get_info("ticks")).size > size

    await eventually(goes_on)
    await again.kill()


async def test_filesystem_pause_keeps_files_only(local: SandboxServer):
    """A pause without memory ends every process and keeps every file."""
    one = await AsyncSandbox.create(**local.client)
    await one.files.write("kept.txt", "kept")
    await one.commands.run("sleep 60", background=True, timeout=0)

    await one.pause(mode="filesystem")

    assert processes_of(one.sandbox_id) == []
    await one.connect()
    assert await one.files.read("kept.txt") == "kept"
    assert await one.commands.list() == []
    await one.kill()


async def test_killed_sandbox_leaves_nothing(local: SandboxServer):
    """A kill ends every process, cuts what runs, deletes the files, and a second one finds nothing."""
    one = await AsyncSandbox.create(**local.client)
    await one.commands.run("mkdir -p locked/in; chmod 0 locked; setsid sleep 60 >/dev/null 2>&1 &")
    running = asyncio.create_task(one.commands.run("sleep 60"))

    async def started() -> bool:
        return len(await one.commands.list()) > 0

    await eventually(started)

    assert await one.kill()
    assert not await one.kill()
    with pytest.raises(SandboxNotRunningException):
        await running
    assert processes_of(one.sandbox_id) == []
    assert not (local.data / "sandboxes" / one.sandbox_id).exists()
    with pytest.raises(SandboxNotFoundException):
        await one.get_info()
    with pytest.raises(SandboxNotFoundException):
        await one.set_timeout(10)


async def test_timeout_pauses_or_kills(local: SandboxServer):
    """At its timeout a sandbox is killed, or paused if it was created so; a paused one connects again."""
    pausing = await AsyncSandbox.create(**local.client, timeout=1, lifecycle={"on_timeout": "pause"})
    killed = await AsyncSandbox.create(**local.client, timeout=1)

    async def paused() -> bool:
        return (await pausing.get_info()).state is SandboxState.PAUSED

    async def gone() -> bool:
        return not (local.data / "sandboxes" / killed.sandbox_id).exists()

    await eventually(paused)
    await eventually(gone)
    await pausing.connect(timeout=60)
    assert (await pausing.commands.run("echo back")).stdout == "back\n"
    await pausing.kill()


async def test_set_timeout_may_shorten_and_connect_only_lengthens(server: SandboxServer | CloudAccount):
    """set_timeout moves the end either way; connecting to a running sandbox never brings it nearer."""
    one = await AsyncSandbox.create(**server.client, timeout=600)

    await one.connect(timeout=60)
    after_connect = (await one.get_info()).end_at
    await one.set_timeout(60)
    after_shorten = (await one.get_info()).end_at

    assert (after_connect - after_shorten).total_seconds() > 500
    with pytest.raises(SandboxException, match=r"(?i)400: timeout"):
        await one.set_timeout(25 * 3600)
    await one.kill()


async def test_auto_resume_on_traffic(server: SandboxServer | CloudAccount):
    """A sandbox created to resume by itself answers the first request after its pause."""
    lifecycle = {"on_timeout": "pause", "auto_resume": True}
    one = await AsyncSandbox.create(**server.client, lifecycle=lifecycle)
    await one.pause()

    assert (await one.commands.run("echo awake")).stdout == "awake\n"
    await one.kill()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_preview(local: SandboxServer, address: str):
    """A port inside is shown on a listener of its own and by host name; closed, a 502 says so."""
    one = await AsyncSandbox.create(**local.client)
    url = await local.preview(one.sandbox_id, port=8123)
    async with httpx2.AsyncClient(trust_env=False) as http:
        early = await http.get(url)
        assert (502, True) == (early.status_code, "8123" in early.text)
        await one.files.write("index.html", "the page")
        serving = await one.commands.run(
            HTTP_SERVER.format(port=8123, address=address), background=True, timeout=0
        )

        async def shown() -> bool:
            return (await http.get(url)).text == "the page"

        await eventually(shown)
        by_name = await http.get(local.url, headers={"host": one.get_host(8123)})
        assert (200, "the page") == (by_name.status_code, by_name.text)
        assert url == await local.preview(one.sandbox_id, port=8123)
        await serving.kill()
        closed = await http.get(local.url, headers={"host": one.get_host(8123)})
        assert (502, "The sandbox is running but port is not open") == (
            closed.status_code,
            closed.json()["message"],
        )
    await one.kill()


async def test_ports_can_be_kept_from_the_public(local: SandboxServer):
    """Without public traffic a port is shown by host name to whoever has the token, and to nobody else."""
    one = await AsyncSandbox.create(**local.client, network={"allow_public_traffic": False})
    await one.files.write("index.html", "the page")
    serving = HTTP_SERVER.format(port=8123, address="127.0.0.1")
    await one.commands.run(serving, background=True, timeout=0)
    named = {"host": one.get_host(8123)}
    token = one.traffic_access_token
    assert token is not None
    async with httpx2.AsyncClient(trust_env=False) as http:

        async def shown() -> bool:
            given = {**named, "e2b-traffic-access-token": token}
            return (await http.get(local.url, headers=given)).text == "the page"

        await eventually(shown)
        without = await http.get(local.url, headers=named)
        wrong = await http.get(local.url, headers={**named, "e2b-traffic-access-token": "wrong"})
    await one.kill()

    assert (403, 403) == (without.status_code, wrong.status_code)


async def test_unsupported_creation_is_refused_by_name(local: SandboxServer):
    """What the local sandbox cannot enforce it refuses, instead of pretending."""
    with pytest.raises(SandboxException, match="400: The local sandbox does not have network"):
        await AsyncSandbox.create(**local.client, network={"deny_out": ["1.1.1.1"]})


async def test_unsupported_call_is_refused_by_name(local_sandbox: AsyncSandbox):
    """A call of E2B's that the local server does not have says so, and not that the sandbox is gone."""
    with pytest.raises(SandboxException, match="501: The local sandbox does not do network"):
        await local_sandbox.update_network({"deny_out": ["1.1.1.1"]})


async def test_snapshots_are_templates(server: SandboxServer | CloudAccount):
    """A snapshot has the files as they were, is listed by sandbox, makes sandboxes, and is deleted once."""
    name = f"tests-{uuid.uuid4()}"
    one = await AsyncSandbox.create(**server.client)
    await one.commands.run("echo then > file; ln file link; chmod 600 file")
    running = await one.commands.run("sleep 60", background=True, timeout=0)
    kept = await one.create_snapshot(name=name)
    await one.files.write("file", "later")

    copies = [await AsyncSandbox.create(name, **server.client) for name in (kept.snapshot_id, name)]
    listed = await AsyncSandbox.list_snapshots(one.sandbox_id, **server.client).next_items()
    shown = [(await copy.commands.run("cat file; stat -c '%a %h' link")).stdout for copy in copies]

    assert ["then\n600 2\n"] * 2 == shown
    assert [(kept.snapshot_id, [name])] == [(found.snapshot_id, found.names) for found in listed]
    assert running.pid in [process.pid for process in await one.commands.list()]
    assert await AsyncSandbox.delete_snapshot(kept.snapshot_id, **server.client)
    assert not await AsyncSandbox.delete_snapshot(kept.snapshot_id, **server.client)
    for sandbox in (one, *copies):
        await sandbox.kill()


async def test_forks_go_their_own_ways(server: SandboxServer | CloudAccount):
    """Forks begin with the files and metadata of their source and share nothing with it after."""
    source = await AsyncSandbox.create(**server.client, metadata={"a": "fork"})
    await source.files.write("file", "common")
    forks = [fork for fork in await source.fork(count=2) if isinstance(fork, AsyncSandbox)]
    await forks[0].files.write("file", "own")

    assert ["own", "common"] == [await fork.files.read("file") for fork in forks]
    assert await source.files.read("file") == "common"
    assert {"a": "fork"} == (await forks[1].get_info()).metadata
    assert 3 == len({one.sandbox_id for one in (source, *forks)})
    for one in (source, *forks):
        await one.kill()
