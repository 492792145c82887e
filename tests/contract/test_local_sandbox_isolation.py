"""What code in a local sandbox cannot reach, as root and as a plain user; and the one way out it has."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from e2b import AsyncSandbox, CommandExitException

from tests.sandbox_server import ROOT, SandboxServer, processes_of, sandbox_server, server_of

DEVICES = [Path("/dev", name) for name in ("null", "zero", "random", "urandom", "tty")]
MARKER = b"reached the host"
WITHOUT_USER_NAMESPACES = (
    *("unshare", "--user", "--map-root-user", "sh", "-c"),
    *('echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"', "sh"),
)


@asynccontextmanager
async def host_service() -> AsyncIterator[int]:
    """Serve HTTP on the host's loopback, as the stack's own services do."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            (line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0"
        )
        received = await reader.readexactly(int(length.partition(b":")[2]))
        body = MARKER + b" " + received
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture(scope="module")
async def store() -> AsyncIterator[int]:
    """The port of an object store on the host that sandboxes may reach."""
    async with host_service() as port:
        yield port


@pytest.fixture(scope="module")
async def private() -> AsyncIterator[int]:
    """The port of a service on the host that sandboxes may not reach."""
    async with host_service() as port:
        yield port


@pytest.fixture(scope="module", params=["this user", "nobody"])
async def server(request: pytest.FixtureRequest, store: int) -> AsyncIterator[SandboxServer]:
    async with server_of(request.param, uploads=f"127.0.0.1:{store}") as started:
        yield started


@pytest.fixture(scope="module")
async def sandbox(server: SandboxServer) -> AsyncSandbox:
    return await AsyncSandbox.create(**server.client)


def exists(path: Path) -> bool:
    """Tell whether a path is there on the host."""
    return path.exists()


async def fetch(sandbox: AsyncSandbox, url: str, *, proxied: bool, body: str = "") -> str:
    """Fetch inside with Python's urllib; return what it printed or the error it met."""
    handler = {} if proxied else {"ProxyHandler": "urllib.request.ProxyHandler({})"}
    script = f"""
import urllib.request
opener = urllib.request.build_opener({", ".join(handler.values())})
try:
    print(opener.open({url!r}, data={body.encode()!r} or None, timeout=10).read().decode())
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
except OSError as error:
    print(error)
"""
    await sandbox.files.write("fetch.py", script)
    return (await sandbox.commands.run("python3 fetch.py")).stdout


async def test_server_says_it_isolates(server: SandboxServer):
    """The health page tells that sandboxes are shut in."""
    async with httpx2.AsyncClient(trust_env=False) as http:
        assert (await http.get(f"{server.url}/healthz")).json()["isolated"] is True


async def test_no_capability_and_no_way_to_one(sandbox: AsyncSandbox):
    """Code inside has no capability, and can make no namespace in which it had."""
    status = (await sandbox.commands.run("grep ^Cap /proc/self/status; id -un")).stdout

    assert status.count("0000000000000000") == 5
    assert status.endswith("user\n")
    with pytest.raises(CommandExitException):
        await sandbox.commands.run("unshare --user --map-root-user true")


@pytest.mark.parametrize(
    "place", ["/", "/usr", "/etc", "/opt/nightshift", "/opt/nightshift/site", "/home", "/proc/sys"]
)
async def test_nothing_outside_is_writable(sandbox: AsyncSandbox, place: str):
    """Only home and tmp can be written; remounting does not change that."""
    with pytest.raises(CommandExitException):
        await sandbox.commands.run(f"mount -o remount,rw,bind {place}; touch {place}/written")

    assert not exists(Path(place, "written"))


async def test_the_kernel_is_not_writable(server: SandboxServer):
    """Root's id gives no power over the kernel's settings or the machine's device nodes."""
    one = await AsyncSandbox.create(**server.client)
    modes = [path.stat().st_mode for path in DEVICES]
    settings = "find /proc -not -path '/proc/[0-9]*' -type f -writable 2>/dev/null"

    written = await one.commands.run(f"for f in $({settings}); do echo >> $f && echo $f; done; true")
    await one.commands.run(f"chmod 0 {' '.join(map(str, DEVICES))} 2>/dev/null; true")

    assert written.stdout == ""
    assert modes == [path.stat().st_mode for path in DEVICES]
    await one.kill()


async def test_files_lie_where_they_should(server: SandboxServer, sandbox: AsyncSandbox):
    """What is written to home and tmp is in the sandbox's own directory outside."""
    await sandbox.commands.run("echo 1 > ~/mine; echo 2 > /tmp/mine; echo 3 > /var/tmp/other")
    directory = server.data / "sandboxes" / sandbox.sandbox_id

    assert "1\n" == (directory / "home" / "mine").read_text()
    assert ("2\n", "3\n") == tuple((directory / "tmp" / name).read_text() for name in ("mine", "other"))


async def test_the_rest_of_the_machine_is_unreadable(
    server: SandboxServer, sandbox: AsyncSandbox, tmp_path: Path
):
    """No home, checkout, data of the server, key of the system or process of the host is seen inside."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    hidden = [Path.home(), ROOT, ROOT / "pyproject.toml", ROOT / "starter/local/sandbox", server.data, secret]
    hidden += [Path("/etc/shadow"), Path("/etc/ssl/private"), Path("/root"), Path("/var/lib"), Path("/sys")]

    checks = "; ".join(f"test -e '{path}' && echo '{path}'" for path in hidden)
    result = await sandbox.commands.run(f"{checks}; true")

    assert result.stdout == ""
    processes = (await sandbox.commands.run("ls -d /proc/[0-9]* | wc -l")).stdout
    assert int(processes) < 10


async def test_a_link_out_leads_nowhere(sandbox: AsyncSandbox, tmp_path: Path):
    """A link to a host path, made inside, is followed inside: by commands and by the file routes."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    await sandbox.commands.run(f"ln -sfn '{secret}' ~/out; ln -sfn '{tmp_path}' ~/outdir")

    assert not await sandbox.files.exists("out/secret")
    with pytest.raises(Exception, match="does not exist"):
        await sandbox.files.read("out")
    with pytest.raises(Exception, match=r"exists|not found"):
        await sandbox.files.list("outdir")


async def test_two_sandboxes_share_nothing(server: SandboxServer, sandbox: AsyncSandbox):
    """A port and a file of one sandbox do not exist in another."""
    other = await AsyncSandbox.create(**server.client)
    await sandbox.files.write("of-one", "1")
    await sandbox.commands.run("python3 -m http.server 8010", background=True, timeout=0)

    assert not await other.files.exists("of-one")
    assert "refused" in await fetch(other, "http://127.0.0.1:8010/", proxied=False)
    await other.kill()


async def test_host_loopback_is_out_of_reach(sandbox: AsyncSandbox, private: int):
    """A service on the host's loopback is reached neither directly nor by the proxy, whatever its name."""
    names = ["127.0.0.1", "localhost", "127.1", "[::ffff:127.0.0.1]", "0"]

    direct = await fetch(sandbox, f"http://127.0.0.1:{private}/", proxied=False)
    by_proxy = [
        (await sandbox.commands.run(f"curl -s --noproxy '' -x $http_proxy http://{name}:{private}/")).stdout
        for name in names
    ]
    write_out = "-s -o /dev/null -w '%{http_connect}' --noproxy '' --proxytunnel -x $http_proxy"
    tunnel = await sandbox.commands.run(f"curl {write_out} http://127.0.0.1:{private}/ || true")

    assert "refused" in direct
    assert all("is not a public address" in text for text in by_proxy)
    assert tunnel.stdout == "403"


async def test_private_networks_are_out_of_reach(sandbox: AsyncSandbox):
    """Private and link-local addresses, the clouds' metadata among them, are refused by the proxy."""
    for host in ("10.0.0.1", "192.168.1.1", "169.254.169.254", "172.16.0.1", "100.64.0.1"):
        assert (await fetch(sandbox, f"http://{host}/", proxied=True)).startswith("403 ")


async def test_upload_host_is_reachable(sandbox: AsyncSandbox, store: int):
    """The allowed store is reached at its own address, plainly as the uploads do and by the proxy."""
    url = f"http://127.0.0.1:{store}/bucket/key"

    plain = await fetch(sandbox, url, proxied=True, body="a snapshot")
    proxied = await sandbox.commands.run(f"curl -s --noproxy '' -x $http_proxy -d sent {url}")

    tunnel = await sandbox.commands.run(f"curl -s --noproxy '' --proxytunnel -x $http_proxy {url}")

    assert tunnel.stdout == "reached the host "
    assert plain.strip() == "reached the host a snapshot"
    assert proxied.stdout == "reached the host sent"


async def test_sandbox_without_internet(server: SandboxServer, store: int):
    """A sandbox created without internet reaches the store and nothing else."""
    offline = await AsyncSandbox.create(**server.client, allow_internet_access=False)

    assert "created without internet" in await fetch(offline, "http://1.1.1.1/", proxied=True)
    assert "reached the host" in await fetch(offline, f"http://127.0.0.1:{store}/", proxied=True)
    await offline.kill()


async def test_without_bubblewrap_it_serves_and_warns():
    """Where bubblewrap cannot run, sandboxes are plain processes: it says so, and still leaves nothing."""
    async with sandbox_server(prefix=WITHOUT_USER_NAMESPACES) as server:
        async with httpx2.AsyncClient(trust_env=False) as http:
            assert (await http.get(f"{server.url}/healthz")).json()["isolated"] is False
        one = await AsyncSandbox.create(**server.client)
        await one.files.write("a.txt", "content")
        await one.commands.run("setsid sleep 60 >/dev/null 2>&1 &")
        paused = await one.commands.run("sleep 60", background=True, timeout=0)
        await one.pause()
        await one.connect()

        assert (await one.commands.run("cat a.txt; pwd")).stdout.startswith("content")
        assert paused.pid in [process.pid for process in await one.commands.list()]
        assert "BUBBLEWRAP DOES NOT RUN HERE" in server.log
        await one.kill()
        assert processes_of(one.sandbox_id) == []
