import socket
from pathlib import Path

import pytest

from starter.local.ports import Ports, is_free


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ports.json"


def listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def test_a_name_keeps_its_port(file: Path):
    """Addresses are the same after a restart."""
    port = Ports(file).claim("s3")

    assert port == Ports(file).claim("s3")


def test_a_taken_port_is_replaced_and_the_new_one_remembered(file: Path):
    """A port that something else took meanwhile is given up for a free one."""
    with listening() as other:
        taken = other.getsockname()[1]
        file.write_text(f'{{"s3": {taken}}}')
        port = Ports(file).claim("s3")

        assert taken != port
        assert is_free(port)
        assert not is_free(taken)

    assert port == Ports(file).claim("s3")


def test_the_preferred_port_is_taken_when_it_is_free(file: Path):
    """What people expect is used where nobody else has it."""
    with listening() as other:
        free = other.getsockname()[1]

    assert free == Ports(file).claim("temporal", preferred=free)


def test_the_preferred_port_is_left_to_its_holder(file: Path):
    """A second checkout on the same machine gets ports of its own."""
    with listening() as other:
        taken = other.getsockname()[1]

        assert taken != Ports(file).claim("temporal", preferred=taken)


def test_two_names_never_share(file: Path):
    """A port promised to one name is not given to another, though nothing listens on it yet."""
    ports = Ports(file)
    first = ports.claim("s3")

    assert first != ports.claim("temporal", preferred=first)


def test_a_claimed_port_stays_when_its_service_listens(file: Path):
    """Asking again in the same run gives the address of the service that now runs there."""
    ports = Ports(file)
    port = ports.claim("s3")
    with socket.create_server(("127.0.0.1", port)):
        assert port == ports.claim("s3")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"s3": "many"}'])
def test_a_torn_file_is_an_empty_one(file: Path, content: str):
    """What a full disk left of the file does not keep the stack from starting."""
    file.write_text(content)

    assert Ports(file).claim("s3") > 0


def test_the_file_is_private(file: Path):
    """Nobody else reads where the stack listens."""
    Ports(file).claim("s3")

    assert 0o600 == file.stat().st_mode & 0o777
