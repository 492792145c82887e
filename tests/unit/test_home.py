import shutil
import tempfile
from pathlib import Path

import pytest

from starter.local.home import Home
from starter.local.parts import PartFailed


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The system's temporary directory, for the length of a test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "t"))
    (tmp_path / "t").mkdir()
    return tmp_path / "t"


def test_the_installation_stays(tmp_path: Path):
    """A checkout is the same one after a restart."""
    assert Home.open(tmp_path / "n").installation == Home.open(tmp_path / "n").installation


def test_a_copied_checkout_is_another_installation(tmp_path: Path):
    """A copy must not take the original's running parts for its own."""
    original = Home.open(tmp_path / "n")
    shutil.copytree(tmp_path / "n", tmp_path / "copy")

    assert original.installation != Home.open(tmp_path / "copy").installation


def test_a_place_that_cannot_be_written_says_so(tmp_path: Path):
    """Whoever cannot keep data there learns where, why, and what to do."""
    (tmp_path / "file").touch()

    with pytest.raises(PartFailed, match=r"cannot keep data in .*file/n: .*\n.*owns the checkout"):
        Home.open(tmp_path / "file" / "n")


def test_a_secret_is_made_once_and_private(tmp_path: Path):
    """The same secret serves every start, and only its owner reads it."""
    home = Home.open(tmp_path / "n")
    secret = home.secret("redis")

    assert secret == Home.open(tmp_path / "n").secret("redis")
    assert secret != home.secret("s3")
    assert [0o600, 0o600] == [path.stat().st_mode & 0o777 for path in (tmp_path / "n/secrets").iterdir()]


def test_sockets_have_a_short_closed_directory_of_their_own(short: Path, tmp_path: Path):
    """However deep the checkout is, a socket's address fits, and two checkouts do not share."""
    deep = Home.open(tmp_path / ("d" * 200) / "n")
    other = Home.open(tmp_path / "n")

    assert len(str(deep.sockets())) <= len(str(short)) + 40
    assert deep.sockets() != other.sockets()
    assert 0 == deep.sockets().stat().st_mode & 0o066


def test_a_long_temporary_directory_is_avoided(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """TMPDIR may be longer than a socket's address may be."""
    long = tmp_path / ("t" * 90)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    sockets = Home.open(tmp_path / "n").sockets()

    assert not sockets.is_relative_to(long)
    assert len(str(sockets / "pg" / ".s.PGSQL.5432.lock")) < 104

    sockets.rmdir()


@pytest.mark.usefixtures("short")
def test_an_open_directory_is_refused(tmp_path: Path):
    """A directory that others may write to is no place for sockets: they could put their own there."""
    home = Home.open(tmp_path / "n")
    home.sockets().chmod(0o777)

    with pytest.raises(PartFailed, match="is not a closed directory"):
        home.sockets()


@pytest.mark.usefixtures("short")
def test_a_planted_link_is_refused(tmp_path: Path):
    """A link that somebody planted under the predictable name is not followed."""
    home = Home.open(tmp_path / "n")
    sockets = home.sockets()
    sockets.rmdir()
    sockets.symlink_to(tmp_path)

    with pytest.raises(PartFailed, match="is not a closed directory"):
        home.sockets()
