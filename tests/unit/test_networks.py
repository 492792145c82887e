import ipaddress
import sys
from pathlib import Path

import pytest

from starter.local.sandbox.networks import networks_of, on_link_ipv4, on_link_ipv6

HEAD = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT"
NOWHERE = "0" * 32


def held(address: str) -> str:
    """An IPv4 address as the kernel writes it."""
    return f"{int.from_bytes(ipaddress.IPv4Address(address).packed, sys.byteorder):08X}"


def route(destination: str, *, gateway: str = "0.0.0.0") -> str:  # noqa: S104 -- the kernel's word for none
    """A table of one row."""
    network = ipaddress.ip_network(destination)
    fields = ("eth0", held(str(network[0])), held(gateway), "0003", "0", "0", "0", held(str(network.netmask)))
    return "\n".join((HEAD, "\t".join((*fields, "0", "0", "0"))))


def route6(destination: str, *, next_hop: str = "::") -> str:
    """A table of one row."""
    network = ipaddress.ip_network(destination)
    written = network[0].packed.hex(), f"{network.prefixlen:02x}"
    hop = ipaddress.ip_address(next_hop).packed.hex()
    return f"{' '.join(written)} {NOWHERE} 00 {hop} 00000100 00000001 00000000 00000001     eth0"


def test_a_row_as_linux_writes_it_on_a_little_machine():
    """The addresses are numbers of the machine, of any network that it is on."""
    if sys.byteorder == "little":
        row = "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0"
        assert [ipaddress.ip_network("192.0.2.0/24")] == on_link_ipv4(f"{HEAD}\n{row}\n")


@pytest.mark.parametrize("network", ["203.0.113.0/24", "8.8.4.4/32", "11.22.0.0/16", "10.0.0.0/16"])
def test_a_route_without_a_gateway_is_a_network_of_the_machine(network: str):
    """Of whatever numbers, down to a single peer."""
    assert [ipaddress.ip_network(network)] == on_link_ipv4(route(network))


@pytest.mark.parametrize("network", ["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "8.0.0.0/7", "11.0.0.0/8"])
def test_a_way_to_the_internet_is_no_network_of_the_machine(network: str):
    """A default route over a line without a gateway, and the pieces of one that a VPN writes."""
    assert [] == on_link_ipv4(route(network))


@pytest.mark.parametrize("network", ["0.0.0.0/0", "203.0.113.0/24"])
def test_what_lies_behind_a_router_is_not_on_the_machines_network(network: str):
    """Rows with a gateway lead away."""
    assert [] == on_link_ipv4(route(network, gateway="192.0.2.1"))


def test_ipv6_is_read_in_the_same_way():
    """Networks and own addresses, but no default route, no VPN's piece of one and nothing behind a router."""
    tables = [
        *(route6("2606:4700::/64"), route6("2606:4700::2/128"), route6("::/0"), route6("2000::/3")),
        *(route6("::/0", next_hop="fe80::1"), route6("2001:4860::/48", next_hop="fe80::1")),
    ]

    assert ["2606:4700::/64", "2606:4700::2/128"] == [str(one) for one in on_link_ipv6("\n".join(tables))]


def test_a_machine_without_these_tables_has_none(tmp_path: Path):
    """Where the system is no Linux, or one of the two protocols is off."""
    assert [] == networks_of(tmp_path)
    (tmp_path / "route").write_text(route("203.0.113.0/24"))
    assert [ipaddress.ip_network("203.0.113.0/24")] == networks_of(tmp_path)
