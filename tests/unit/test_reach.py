import asyncio
from collections.abc import Mapping, Sequence

import pytest

from activities.reach import is_private, resolve

NAMES: Mapping[str, Sequence[str]] = {
    "s3.eu-west-1.amazonaws.com": ["52.218.1.1"],
    "s3.example.com": ["1.1.1.1", "2606:4700:4700::1111"],
    "minio.corp.example": ["10.1.2.3"],
    "both.corp.example": ["1.1.1.1", "10.1.2.3"],
    "six.corp.example": ["fd00::9"],
    "link.corp.example": ["fe80::1%eth0"],
}


async def listed(host: str) -> Sequence[str]:
    """A resolver that knows these names."""
    if host not in NAMES:
        raise OSError("Name or service not known")
    return NAMES[host]


async def unasked(host: str) -> Sequence[str]:
    """A resolver that nobody should need."""
    raise AssertionError(host)


@pytest.mark.parametrize(
    ("endpoint", "private"),
    [
        ("http://127.0.0.1:7070", True),
        ("http://localhost:9000", True),
        ("http://10.1.2.3", True),
        ("http://[::1]:9000", True),
        ("http://minio:9000", True),
        ("http://minio.:9000", True),
        ("http://store.local/", True),
        ("http://store.svc.cluster.internal", True),
        ("https://8.8.8.8", False),
        ("https://[2606:4700:4700::1111]", False),
        ("", False),
        ("http://[", False),
    ],
)
async def test_a_number_or_a_name_of_a_network_is_known_by_its_form(endpoint: str, *, private: bool):
    """Loopback and private numbers, names without a dot and names of networks; no resolver is asked."""
    assert private == await is_private(endpoint, resolve=unasked)


@pytest.mark.parametrize(
    ("endpoint", "private"),
    [
        ("https://s3.eu-west-1.amazonaws.com", False),
        ("https://s3.example.com", False),
        ("http://minio.corp.example:9000", True),
        ("http://both.corp.example", True),
        ("http://six.corp.example", True),
        ("http://link.corp.example", True),
        ("https://unknown.example", False),
    ],
)
async def test_any_other_name_is_where_it_leads(endpoint: str, *, private: bool):
    """Private as soon as one of its addresses is; a name that leads nowhere from here is not."""
    assert private == await is_private(endpoint, resolve=listed)


async def test_a_resolver_that_does_not_answer_is_not_waited_for():
    """A name that nobody answers for in time is treated as one that leads nowhere."""

    async def silent(host: str) -> Sequence[str]:
        await asyncio.Event().wait()
        return [host]

    assert not await is_private("https://s3.example.com", resolve=silent, seconds=0.01)


async def test_this_machine_tells_where_a_name_leads():
    """The machine's own names are private by the system's resolver, too."""
    assert await is_private("http://127.1:9000")
    assert "127.0.0.1" in await resolve("localhost")
