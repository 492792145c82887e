"""Code in a local sandbox against the stack's real services, with the server run as root and as a plain user.

Nothing but the upload host answers it, and that only what is signed.
"""

import asyncio
import ipaddress
import json
import re
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from e2b import AsyncSandbox

from activities.objects import Objects
from starter.local.parts import Part
from starter.local.sandbox.networks import networks_of
from starter.local.stack import open_stack
from tests.contract.conftest import ROOT
from tests.sandbox_server import KEY, SandboxServer, server_of

PROBE = """
import json, os, socket, urllib.error, urllib.request

# By the proxy is meant, also for what the sandbox's settings say is not asked of it.
os.environ.pop("no_proxy"), os.environ.pop("NO_PROXY")

def tried(step):
    try:
        return step()
    except urllib.error.HTTPError as error:
        return f"HTTP {error.code} {error.read(300).decode(errors='replace')}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"

def unix(path):
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(path)
        return "connected"

def tcp(host, port):
    with socket.create_connection((host, port), timeout=5):
        return "connected"

def tunnel(host, port):
    with socket.create_connection(("127.0.0.1", 3128), timeout=20) as one:
        one.sendall(f"CONNECT {host}:{port} HTTP/1.1\\r\\n\\r\\n".encode())
        answer = one.makefile()
        first = answer.readline()
        return first if " 200 " in first else first + answer.read()

def http(url, method, headers, proxied):
    opener = urllib.request.build_opener(*([] if proxied else [urllib.request.ProxyHandler({})]))
    request = urllib.request.Request(url, method=method, headers=headers)
    with opener.open(request, timeout=20) as answer:
        return f"HTTP {answer.status} {answer.read(300).decode(errors='replace')}"

steps = {"unix": unix, "tcp": tcp, "tunnel": tunnel, "http": http}
print(json.dumps([tried(lambda: steps[name](*given)) for name, *given in json.load(open("steps.json"))]))
"""


@pytest.fixture(scope="module")
async def temporal(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The address of a Temporal server of this machine."""
    data = tmp_path_factory.mktemp("temporal") / "stack"
    parts = frozenset({Part.TEMPORAL})
    async with open_stack(ROOT, data=data, parts=parts, fast=True, environment={}) as stack:
        yield stack.environment["TEMPORAL_ADDRESS"]


@pytest.fixture(scope="module", params=["this user", "nobody"])
async def server(request: pytest.FixtureRequest, services: Mapping[str, str]) -> AsyncIterator[SandboxServer]:
    store = urlsplit(services["AWS_ENDPOINT_URL_S3"]).netloc
    async with server_of(request.param, uploads=store) as started:
        yield started


@pytest.fixture(scope="module")
async def sandbox(server: SandboxServer) -> AsyncSandbox:
    one = await AsyncSandbox.create(**server.client)
    await one.files.write("probe.py", PROBE)
    return one


async def tried(sandbox: AsyncSandbox, *steps: tuple[object, ...]) -> list[str]:
    """Try to reach something from inside, in several ways; give what each way met."""
    await sandbox.files.write("steps.json", json.dumps(steps))
    answers: list[str] = json.loads((await sandbox.commands.run("python3 probe.py", timeout=120)).stdout)
    return answers


def own_address() -> str:
    """Give the address that this machine has on its network; empty if it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
    return ""


def neighbours_of(address: str) -> list[str]:
    """Give another address of each network that this one is on."""
    own = ipaddress.ip_address(address)
    return [
        str(next(host for host in network.hosts() if host != own))
        for network in networks_of()
        if own in network and network.num_addresses > 1
    ]


def is_unreachable(answer: str) -> bool:
    """Tell whether a direct attempt met nobody, as there is no such way in the sandbox's network."""
    return bool(re.match(r"\w+: .*(Connection refused|Network is unreachable)", answer))


def is_forbidden(answer: str) -> bool:
    """Tell whether the proxy's policy refused it, in its words."""
    why = r"(not a public address;|on a network of this machine;|this machine\.)"
    return bool(re.match(rf"HTTP(/1\.1)? 403 (?s:.)*:\d+ is refused: \S+ is {why}", answer))


async def test_temporal_and_the_control_plane_are_out_of_reach(
    sandbox: AsyncSandbox, server: SandboxServer, temporal: str
):
    """Neither directly nor by the proxy, by whatever name, not even with the key in hand."""
    host, port = temporal.split(":")
    key = {"X-API-KEY": KEY}
    answers = await tried(
        sandbox,
        ("tcp", host, int(port)),
        ("tunnel", host, port),
        ("tunnel", "localhost", port),
        ("tcp", "127.0.0.1", server.port),
        ("tunnel", "127.0.0.1", server.port),
        ("http", f"{server.url}/v2/sandboxes", "GET", key, False),
        ("http", f"{server.url}/v2/sandboxes", "GET", key, True),
        ("http", f"{server.url}/_control/faults", "GET", key, True),
    )
    direct = [answers.pop(place) for place in (5, 3, 0)]

    assert [] == [answer for answer in direct if not is_unreachable(answer)]
    assert [] == [answer for answer in answers if not is_forbidden(answer)]


async def test_sockets_of_the_databases_are_not_there(sandbox: AsyncSandbox, services: Mapping[str, str]):
    """Postgres and Redis listen on sockets in the file system, which a sandbox does not see."""
    folder = parse_qs(urlsplit(services["DATABASE_URL"]).query)["host"][0]
    postgres, redis = f"{folder}/.s.PGSQL.5432", urlsplit(services["REDIS_URL"]).path
    outside = [path for path in (postgres, redis) if Path(path).is_socket()]

    answers = await tried(sandbox, ("unix", postgres), ("unix", redis), ("tcp", "127.0.0.1", 5432))

    assert [postgres, redis] == outside
    assert "No such file" in answers[0]
    assert "No such file" in answers[1]
    assert is_unreachable(answers[2])


async def test_the_store_answers_only_what_is_signed(
    sandbox: AsyncSandbox, services: Mapping[str, str], objects: Objects
):
    """Buckets cannot be listed, read, written or made without a signature; one is for its own key alone."""
    store = services["AWS_ENDPOINT_URL_S3"]
    bucket = services["PROJECT_SNAPSHOT_BUCKET"]
    await objects.ensure_bucket("us-east-1")
    await objects.put_if_absent("reach/known", b"a snapshot", content_type="text/plain")
    signed = await objects.presign_get("reach/known")

    given, tunnelled, *others = await tried(
        sandbox,
        ("http", signed, "GET", {}, False),
        ("tunnel", "127.0.0.1", urlsplit(store).port),
        ("http", signed.replace("reach/known", "reach/other"), "GET", {}, False),
        ("http", signed.replace(f"/{bucket}/", "/another-bucket/"), "GET", {}, False),
        ("http", signed, "DELETE", {}, False),
        ("http", f"{store}/", "GET", {}, False),
        ("http", f"{store}/{bucket}?list-type=2", "GET", {}, True),
        ("http", f"{store}/{bucket}/reach/known", "GET", {}, True),
        ("http", f"{store}/{bucket}/planted", "PUT", {}, False),
        ("http", f"{store}/another-bucket", "PUT", {}, False),
    )

    assert given == "HTTP 200 a snapshot"
    assert tunnelled.startswith("HTTP/1.1 200")
    assert ["HTTP 403"] * len(others) == [answer[:8] for answer in others]
    assert [] == [answer for answer in others if is_forbidden(answer)]  # it was the store that answered


async def test_other_sandboxes_are_out_of_reach(sandbox: AsyncSandbox, server: SandboxServer):
    """What another one serves is reached by no loopback, no preview listener and no host name."""
    other = await AsyncSandbox.create(**server.client)
    await other.commands.run("python3 -m http.server 8765", background=True, timeout=0)
    preview = urlsplit(await server.preview(other.sandbox_id, port=8765))

    answers = await tried(
        sandbox,
        ("tcp", "127.0.0.1", 8765),
        ("tcp", "127.0.0.1", preview.port),
        ("tunnel", "127.0.0.1", preview.port),
        ("http", server.url, "GET", {"Host": other.get_host(8765)}, True),
    )
    await other.kill()

    assert [True, True] == [is_unreachable(answer) for answer in answers[:2]]
    assert [True, True] == [is_forbidden(answer) for answer in answers[2:]]


async def test_networks_of_the_machine_are_out_of_reach(sandbox: AsyncSandbox):
    """Neither the clouds' metadata address nor a private network is reached, and there is no other way."""
    hosts = ("169.254.169.254", "168.63.129.16", "10.0.0.1")
    direct = await tried(sandbox, *(("tcp", host, 80) for host in (*hosts, "1.1.1.1")))
    proxied = await tried(
        sandbox,
        *(("tunnel", host, 80) for host in hosts),
        *(("http", f"http://{host}/", "GET", {}, True) for host in hosts),
    )
    (named,) = await tried(sandbox, ("tunnel", "metadata.google.internal", 80))

    assert [] == [answer for answer in direct if not is_unreachable(answer)]
    assert [] == [answer for answer in proxied if not is_forbidden(answer)]
    # Only in that cloud does the name lead anywhere.
    assert is_forbidden(named) or named.startswith("HTTP/1.1 502 ")


@pytest.mark.skipif(not own_address(), reason="this machine is on no network")
async def test_a_service_on_the_machines_own_address_is_out_of_reach(sandbox: AsyncSandbox):
    """What listens there is not connected to, nor is anything else of that network."""
    own = own_address()
    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.extend(filter(None, [await reader.read()]))
        writer.close()

    async with await asyncio.start_server(listen, own, 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        direct, *proxied = await tried(
            sandbox,
            ("tcp", own, port),
            ("tunnel", own, port),
            ("http", f"http://{own}:{port}/", "GET", {}, True),
            *(("tunnel", other, port) for other in neighbours_of(own)),
        )
        reader, writer = await asyncio.open_connection(own, port)
        writer.write(b"from outside")
        writer.write_eof()
        await reader.read()
        writer.close()

    assert is_unreachable(direct)
    assert [] == [answer for answer in proxied if not is_forbidden(answer)]
    assert [b"from outside"] == heard
