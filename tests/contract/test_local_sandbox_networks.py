"""The proxy of a real sandbox server on a machine whose own addresses look public: a network namespace."""

import asyncio
import json
import subprocess
import sys

import pytest

from tests.sandbox_server import ROOT, python_path

NAMESPACE = ("unshare", "--user", "--map-root-user", "--net", "sh", "-ec")
LINKS = """
ip link set lo up
ip address add 9.9.9.9/32 dev lo
ip link add one type veth peer name two
ip address add 8.8.4.1/24 dev one
ip link set one up
ip link set two up
"""
PROBE = """
import asyncio, json
from e2b import AsyncSandbox
from tests.sandbox_server import sandbox_server

HOSTS = ("9.9.9.9", "8.8.4.1", "8.8.4.9", "1.1.1.1")
ASK = "curl -s --noproxy '' -x $http_proxy -w '%{{http_code}}' http://{}:8080/"

async def main():
    heard = b""

    async def listen(reader, writer):
        nonlocal heard
        heard += await reader.read()
        writer.close()

    async with await asyncio.start_server(listen, ["9.9.9.9", "8.8.4.1"], 8080), sandbox_server() as server:
        one = await AsyncSandbox.create(**server.client)
        told = [(await one.commands.run(ASK.format(host))).stdout for host in HOSTS]
    print(json.dumps({"heard": heard.decode(), "told": dict(zip(HOSTS, told))}))

asyncio.run(main())
"""


def _can_have_networks() -> bool:
    try:
        made = subprocess.run([*NAMESPACE, LINKS], capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return made.returncode == 0


@pytest.mark.skipif(not _can_have_networks(), reason="this machine lets nobody make a network with ip(8)")
async def test_public_looking_addresses_of_the_machine_and_its_network_are_out_of_reach():
    """Its own addresses and its neighbours are refused in a word; another address is tried."""
    process = await asyncio.create_subprocess_exec(
        *(*NAMESPACE, LINKS + 'exec "$@"', "sh", sys.executable, "-c", PROBE),
        cwd=ROOT,
        env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin", "PYTHONPATH": python_path()},
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    found = json.loads(printed)
    told = found["told"]

    assert "" == found["heard"]
    assert "9.9.9.9:8080 is refused: 9.9.9.9 is this machine" in told["9.9.9.9"]
    assert all(f"{host} is on a network of this machine" in told[host] for host in ("8.8.4.1", "8.8.4.9")), (
        told
    )
    assert ["403", "403", "403", "502"] == [answer[-3:] for answer in told.values()]
