"""The networks that this machine is on, by its own routing tables; reads them and decides nothing."""

import ipaddress
import sys
from contextlib import suppress
from pathlib import Path

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

TABLES = Path("/proc/net")
WIDEST_IPV4, WIDEST_IPV6 = 16, 48
"""Prefix lengths of the widest network that a site is on. A wider route is a way out, such as a VPN's, and
its far side is the internet."""


def networks_of(tables: Path = TABLES) -> list[Network]:
    """Give every network that is reached without a router, as of now; none where there are no such tables."""
    return [*on_link_ipv4(_read(tables / "route")), *on_link_ipv6(_read(tables / "ipv6_route"))]


def on_link_ipv4(table: str) -> list[Network]:
    """Read the rows without a gateway of Linux's /proc/net/route."""
    found: list[Network] = []
    for row in table.splitlines()[1:]:
        _, destination, gateway, _, _, _, _, mask, *_ = row.split()
        length = int(mask, 16).bit_count()
        if int(gateway, 16) == 0 and length >= WIDEST_IPV4:
            # Written as the machine holds a number, of an address that is in the network's order.
            address = int(destination, 16).to_bytes(4, sys.byteorder)
            found.append(ipaddress.IPv4Network((address, length), strict=False))
    return found


def on_link_ipv6(table: str) -> list[Network]:
    """Read the rows without a next hop of Linux's /proc/net/ipv6_route, own addresses among them."""
    found: list[Network] = []
    for row in table.splitlines():
        destination, length, _, _, next_hop, *_ = row.split()
        if int(next_hop, 16) == 0 and int(length, 16) >= WIDEST_IPV6:
            found.append(ipaddress.IPv6Network((bytes.fromhex(destination), int(length, 16)), strict=False))
    return found


def _read(path: Path) -> str:
    with suppress(OSError):
        return path.read_text()
    return ""
