import socket
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from starter.local.parts import PartFailed
from starter.local.ports import Ports
from starter.local.temporal_settings import settle

ROOT = Path(__file__).parents[2]
FILE = ROOT / "temporal-dev.yaml"


def test_the_file_itself_serves_where_its_ports_are_free(tmp_path: Path):
    """With the usual ports free, the CLI is pointed to the file of the checkout."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        port, ui_port = one.getsockname()[1], two.getsockname()[1]
    source = tmp_path / "source.yaml"
    content = yaml.safe_load(FILE.read_text())
    content["env"]["default"] |= {"port": str(port), "ui-port": str(ui_port)}
    source.write_text(yaml.safe_dump(content))
    (tmp_path / "copy.yaml").write_text("of a day when they were taken")
    settings = settle(source, copy=tmp_path / "copy.yaml", ports=Ports(tmp_path / "p"), usual=True)

    assert source == settings.file
    assert (port, ui_port) == (settings.port, settings.ui_port)
    assert not (tmp_path / "copy.yaml").exists()


def test_other_ports_are_written_to_a_copy(tmp_path: Path):
    """With other ports, a copy that every command of the CLI reads says where the server is."""
    settings = settle(FILE, copy=tmp_path / "copy.yaml", ports=Ports(tmp_path / "p"), usual=False)
    flags = yaml.safe_load((tmp_path / "copy.yaml").read_text())["env"]["default"]

    assert tmp_path / "copy.yaml" == settings.file
    assert settings.address == flags["address"]
    assert (str(settings.port), str(settings.ui_port)) == (flags["port"], flags["ui-port"])
    assert "default" == flags["namespace"]


def test_the_address_and_the_port_of_the_file_agree():
    """The two ways in which the file says where the server is are the same."""
    flags = yaml.safe_load(FILE.read_text())["env"]["default"]

    assert flags["address"] == f"{flags['ip']}:{flags['port']}"


def test_the_server_gets_every_flag_of_the_file(tmp_path: Path):
    """Search attributes and dynamic configuration are passed on as the CLI wants them, on loopback."""
    settings = settle(FILE, copy=tmp_path / "copy.yaml", ports=Ports(tmp_path / "p"), usual=False)
    argv = settings.start_dev(tmp_path / "db")
    pairs = list(pairwise(argv))

    assert ("--ip", "127.0.0.1") in pairs
    assert ("--search-attribute", "BuildSpentCents=Int") in pairs
    assert ("--dynamic-config-value", "history.timerProcessorMaxPollRPS=1000") in pairs
    assert ("--dynamic-config-value", "frontend.enableServerVersionCheck=false") in pairs


@pytest.mark.parametrize("content", ["env: [", "env: {default: {port: no}}", "- 1"])
def test_a_broken_file_says_so(tmp_path: Path, content: str):
    """A file that somebody mistyped is named, with the way back."""
    (tmp_path / "broken.yaml").write_text(content)

    with pytest.raises(PartFailed, match=r"broken.yaml cannot be read(.|\n)*restore temporal-dev.yaml"):
        settle(tmp_path / "broken.yaml", copy=tmp_path / "c", ports=Ports(tmp_path / "p"), usual=False)
