from pathlib import Path

import pytest

from starter.local.go import installer


def test_the_checkouts_own_uv_is_used_where_none_is_on_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """An environment that uv made has no pip: on a machine without uv, `make` keeps one in the checkout."""
    own = tmp_path / "uv"
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.delenv("UV", raising=False)
    assert "pip" == installer(own)[2]

    own.touch(mode=0o755)
    assert (str(own), "pip", "install") == installer(own)
