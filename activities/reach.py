"""Whether an address is out of the reach of a sandbox in a cloud. Asks for names, connects to nothing."""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from urllib.parse import urlsplit

RESOLVE_SECONDS = 5.0
"""How long a name is asked for."""
_OF_NETWORKS = (".localhost", ".local", ".internal")

Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""Gives the addresses of a host; raises OSError where it has none."""


async def resolve(host: str) -> list[str]:
    """Ask this machine for the addresses of a host; raises OSError where it knows none."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


async def is_private(endpoint: str, *, resolve: Resolve = resolve, seconds: float = RESOLVE_SECONDS) -> bool:
    """Tell whether an address is of this machine or its networks, out of a cloud sandbox's reach.

    A name is so by its form, or when it leads here to such a number; one that leads nowhere is not.
    """
    try:
        host = (urlsplit(endpoint).hostname or "").rstrip(".")
        if not host or _is_number(host):
            return bool(host) and not _is_global(host)
        if "." not in host or host.endswith(_OF_NETWORKS):
            return True
        async with asyncio.timeout(seconds):
            return not all(map(_is_global, await resolve(host)))
    except (OSError, ValueError):
        return False


def _is_number(host: str) -> bool:
    with suppress(ValueError):
        return bool(ipaddress.ip_address(host))
    return False


def _is_global(address: str) -> bool:
    return ipaddress.ip_address(address).is_global
