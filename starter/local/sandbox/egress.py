"""The only way out of a sandbox: a forward proxy to public addresses, and the named upload hosts.

Listens on sockets made inside the sandbox and connects from outside. An address is checked after its name
was resolved, and that address is the one connected to.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from starter.local.sandbox.networks import Network, networks_of
from starter.local.sandbox.splice import Connection, splice

HEAD_BYTES = 65536
CONNECT_SECONDS = 20.0
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
"""All of IPv6 that is public; outside it are also the prefixes that a network translates to IPv4."""
PLATFORM = (ipaddress.ip_network("168.63.129.16/32"), ipaddress.ip_network("192.0.0.0/24"))
"""Numbers that look public and are answered by the machine's own platform: Azure's WireServer, and what
IANA keeps for protocols."""

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class EgressRefusedError(Exception):
    """A destination is not allowed; the text says which and why."""


@dataclass(frozen=True)
class Target:
    """Where a client of the proxy wants to go, and what to send there first."""

    host: str
    port: int
    head: bytes
    """Rewritten request head; empty for a tunnel."""


@dataclass(frozen=True)
class Egress:
    """The policy of this server."""

    upload_hosts: frozenset[tuple[str, int]] = frozenset()
    """Host and port of object stores that sandboxes may reach wherever they are."""
    networks: Callable[[], Sequence[Network]] = networks_of
    """Gives the networks that this machine is on, which may change at any time."""

    def ports(self, proxy_port: int) -> list[int]:
        """Return the loopback ports a sandbox listens on: the proxy's, and each loopback store's own."""
        stores = {port for host, port in self.upload_hosts if host in {"127.0.0.1", "localhost"}}
        return [proxy_port, *sorted(stores - {proxy_port})]

    def handler(self, port: int, *, is_proxy: bool, internet: bool) -> Handler:
        """Return what serves a connection accepted inside on one of those ports."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            client = (reader, writer)
            with suppress(OSError, TimeoutError):
                if is_proxy:
                    await self._proxy(client, internet=internet)
                else:
                    await splice(client, await asyncio.open_connection("127.0.0.1", port))
            writer.close()

        return serve

    async def _proxy(self, client: Connection, *, internet: bool) -> None:
        reader, writer = client
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                target = parse_head(await reader.readuntil(b"\r\n\r\n"))
                upstream = await self.connect(target.host, target.port, internet=internet)
        except EgressRefusedError as error:
            await _reply(writer, 403, str(error))
        except (asyncio.LimitOverrunError, asyncio.IncompleteReadError, ValueError):
            await _reply(writer, 400, "This is a forward proxy: send CONNECT or an absolute http:// URL.")
        except (OSError, TimeoutError) as error:
            await _reply(writer, 502, f"The destination cannot be reached: {error}")
        else:
            if target.head:
                upstream[1].write(target.head)
            else:
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await splice(client, upstream)

    async def connect(self, host: str, port: int, *, internet: bool) -> Connection:
        """Connect to an allowed destination.

        Raises:
            EgressRefusedError: the policy forbids it.
            OSError: it cannot be resolved or reached.

        """
        trusted = (host, port) in self.upload_hosts
        if not trusted and not internet:
            raise EgressRefusedError(f"{host}:{port} is refused: this sandbox was created without internet.")
        address = await _resolve(host, port)
        if not trusted and (kind := self._forbidden(address)):
            raise EgressRefusedError(
                f"{host}:{port} is refused: {address} is {kind}; "
                "a sandbox reaches neither this machine nor its networks."
            )
        reader, writer = await asyncio.open_connection(address, port)
        if not trusted and writer.get_extra_info("sockname")[0] == writer.get_extra_info("peername")[0]:
            writer.close()
            raise EgressRefusedError(f"{host}:{port} is refused: {address} is this machine.")
        return reader, writer

    def _forbidden(self, address: str) -> str:
        """Say what an address is that no sandbox may reach; empty for one that it may."""
        found = _plain(address)
        if not is_public(address):
            return "not a public address"
        return "on a network of this machine" if any(found in one for one in self.networks()) else ""


def is_public(address: str) -> bool:
    """Tell whether an address belongs to the public internet."""
    found = _plain(address)
    if isinstance(found, ipaddress.IPv6Address):
        return found.is_global and found in GLOBAL_UNICAST and not (found.sixtofour or found.teredo)
    return found.is_global and not found.is_multicast and not any(found in one for one in PLATFORM)


def _plain(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    found = ipaddress.ip_address(address)
    return (isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped) or found


def parse_head(head: bytes) -> Target:
    """Read a proxy request's head.

    Raises:
        ValueError: it is neither CONNECT nor an absolute http URL.

    """
    line, _, rest = head.partition(b"\r\n")
    method, url, version = line.decode("latin-1").split(" ")
    if method == "CONNECT":
        parts = urlsplit(f"//{url}")
        return Target(parts.hostname or "", parts.port or 443, b"")
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError("not an absolute http URL")
    path = parts._replace(scheme="", netloc="").geturl() or "/"
    kept = [header for header in rest.split(b"\r\n") if header and not _is_hop(header)]
    # One request a connection, so that a second one is parsed and checked anew.
    lines = [f"{method} {path} {version}".encode("latin-1"), *kept, b"Connection: close"]
    return Target(parts.hostname, parts.port or 80, b"\r\n".join(lines) + b"\r\n\r\n")


def parse_upload_hosts(text: str) -> frozenset[tuple[str, int]]:
    """Read a comma-separated list of host:port.

    Raises:
        ValueError: an entry has no port.

    """
    found: set[tuple[str, int]] = set()
    for entry in filter(None, (part.strip() for part in text.split(","))):
        host, _, port = entry.rpartition(":")
        if not host or not port.isdecimal():
            raise ValueError(
                f"NIGHTSHIFT_UPLOAD_HOSTS names {entry!r}; write host:port, separated by commas."
            )
        found.add((host.strip("[]").lower(), int(port)))
    return frozenset(found)


def _is_hop(header: bytes) -> bool:
    name = header.partition(b":")[0].strip().lower()
    return name in {b"connection", b"keep-alive", b"proxy-connection", b"proxy-authorization"}


async def _resolve(host: str, port: int) -> str:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return str(found[0][4][0])


async def _reply(writer: asyncio.StreamWriter, status: int, text: str) -> None:
    body = (text + "\n").encode()
    line = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"
    head = f"{line}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
