"""What a worker is handed on of the environment that the stack was started in."""

from pathlib import Path
from typing import Literal

import pytest

from starter.local.home import Home
from starter.local.parts import Part, PartStatus
from starter.local.stack import Stack
from starter.running import LOOPBACK, environment_of, shortcomings


def stack(*, sandbox: Literal["real", "stand-in"] = "stand-in") -> Stack:
    parts = (PartStatus(name=Part.SANDBOX, kind=sandbox, address="", version="", healthy=True),)
    return Stack(
        environment={"E2B_API_KEY": "theirs"},
        parts=parts,
        web_ui="",
        env_file="",
        home=Home(Path("/nowhere"), "here"),
        supervisor=None,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AUTONOMOUS_AGENT", "false"),
        ("DEFAULT_MODEL", "claude-opus-5"),
        ("SANDBOX_TIMEOUT_SECONDS", "600"),
        ("NIGHTSHIFT_ALLOW_UNISOLATED", "1"),
        ("SSL_CERT_FILE", "/etc/ssl/own.pem"),
    ],
)
def test_what_belongs_to_no_part_is_handed_on(name: str, value: str):
    """Settings of the product itself, and the way into the network."""
    assert value == environment_of(stack(), {name: value})[name]


@pytest.mark.parametrize("name", ["E2B_API_KEY", "ANTHROPIC_API_KEY", "AWS_SECRET_ACCESS_KEY", "HOME", "X"])
def test_what_belongs_to_a_part_or_to_nobody_is_not(name: str):
    """A stand-in is never mixed with a real part's key; a stranger's variable is none of ours."""
    assert "mine" not in environment_of(stack(), {name: "mine"}).values()


def test_no_proxy_stands_before_the_stand_ins():
    """Where a proxy is set, loopback is excepted, beside what the person excepted."""
    given = environment_of(stack(), {"https_proxy": "http://proxy:3128", "no_proxy": "intern"})

    assert "http://proxy:3128" == given["https_proxy"]
    assert f"intern,{LOOPBACK}" == given["NO_PROXY"]
    assert "NO_PROXY" not in environment_of(stack(), {})


def test_a_missing_browser_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """With what to install; a provider's sandbox may have its own."""
    monkeypatch.setenv("PATH", str(tmp_path))
    (line,) = shortcomings(stack())

    assert "no screenshots" in line
    assert "install chromium" in line
    assert [] == shortcomings(stack(sandbox="real"))
    (tmp_path / "chromium").touch(mode=0o755)
    assert [] == shortcomings(stack())
