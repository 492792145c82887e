"""The policy of the local sandbox's forward proxy, apart from any network."""

import ipaddress

import pytest

from starter.local.sandbox.egress import Egress, EgressRefusedError, is_public, parse_head, parse_upload_hosts


@pytest.mark.parametrize("address", ["1.1.1.1", "151.101.0.223", "2606:4700:4700::1111", "::ffff:1.1.1.1"])
def test_public_addresses_are_allowed(address: str):
    """An address of the public internet is public, written either way."""
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),  # noqa: S104 -- an address to refuse
        *("224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "ff02::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:7f00:1::"),
        *("64:ff9b:1::a00:1", "::127.0.0.1", "fec0::1"),
        *("168.63.129.16", "::ffff:168.63.129.16", "192.0.0.192"),
    ],
)
def test_all_other_addresses_are_refused(address: str):
    """Loopback, private, link-local, shared, multicast, translated and platform addresses are not public."""
    assert not is_public(address)


@pytest.mark.parametrize("host", ["8.8.4.9", "::ffff:8.8.4.9", "2606:4700::9"])
async def test_the_networks_of_the_machine_are_refused_however_public_they_look(host: str):
    """A neighbour on this machine's network is refused before anything is connected to."""
    networks = [ipaddress.ip_network("8.8.4.0/24"), ipaddress.ip_network("2606:4700::/64")]

    with pytest.raises(EgressRefusedError, match="is on a network of this machine"):
        await Egress(networks=lambda: networks).connect(host, 9, internet=True)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "2130706433", "0x7f.1", "[::1]", "::1"])
async def test_loopback_is_refused_under_every_name(host: str):
    """What resolves to this machine is refused before anything is connected to."""
    with pytest.raises(EgressRefusedError, match="not a public address"):
        await Egress().connect(host.strip("[]"), 9, internet=True)


async def test_only_the_named_port_of_an_upload_host_is_trusted():
    """A store's host is reached at its own port and at no other."""
    policy = Egress(parse_upload_hosts("127.0.0.1:9"))

    with pytest.raises(ConnectionRefusedError):
        await policy.connect("127.0.0.1", 9, internet=False)
    with pytest.raises(EgressRefusedError):
        await policy.connect("127.0.0.1", 10, internet=True)


def test_absolute_requests_become_plain_ones():
    """A proxied request is sent on in origin form, alone on its connection, without the proxy's headers."""
    head = b"GET http://host:81/a?b=c HTTP/1.1\r\nHost: host:81\r\nProxy-Connection: keep-alive\r\n\r\n"

    target = parse_head(head)

    assert ("host", 81) == (target.host, target.port)
    assert target.head == b"GET /a?b=c HTTP/1.1\r\nHost: host:81\r\nConnection: close\r\n\r\n"


def test_connect_names_host_and_port():
    """A tunnel goes to the host and port of its request line, IPv6 included."""
    named = [
        parse_head(b"CONNECT %s HTTP/1.1\r\n\r\n" % where)
        for where in (b"packages.example:443", b"[2606::1]:8443")
    ]

    assert [("packages.example", 443, b""), ("2606::1", 8443, b"")] == [
        (target.host, target.port, target.head) for target in named
    ]


@pytest.mark.parametrize(
    "line", [b"GET / HTTP/1.1", b"GET https://x/ HTTP/1.1", b"nonsense", b"GET http:// HTTP/1.1"]
)
def test_other_requests_are_no_proxy_requests(line: bytes):
    """A request that names no http destination is refused as malformed."""
    with pytest.raises(ValueError):  # noqa: PT011 -- whatever is wrong with it
        parse_head(line + b"\r\n\r\n")


@pytest.mark.parametrize("text", ["127.0.0.1", "host:", ":9000", "host:port"])
def test_upload_hosts_need_a_port(text: str):
    """A store without a port is refused at the start, by name."""
    with pytest.raises(ValueError, match="NIGHTSHIFT_UPLOAD_HOSTS"):
        parse_upload_hosts(text)
