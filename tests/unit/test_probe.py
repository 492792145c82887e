import asyncio
from argparse import Namespace
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from starter.doctor import doctor, is_relayed
from starter.local.parts import CHOSEN_BY, Part, PartStatus, is_real
from starter.local.probe import probe
from starter.stack_table import stack_table

NOWHERE = "127.0.0.1:1"
ODD = st.text(st.sampled_from("/#?@:[]%&= \n\"'\\é"), max_size=4)
SECRETS = st.builds("{}Zq8w{}Kp3v{}".format, ODD, ODD, ODD)
"""Both halves must stay unseen: a client may cut a secret at any odd character."""
PLACES = st.sampled_from([NOWHERE, "127.0.0.1:port", "[", f"{NOWHERE}/x?a=b"])
ADDRESSES = {
    "DATABASE_URL": "postgresql://me:{}@{}",
    "REDIS_URL": "redis://:{}@{}",
    "ANTHROPIC_BASE_URL": "http://me:{}@{}",
    "E2B_API_URL": "http://{}@{}",
}


def probed(part: Part, environment: dict[str, str]) -> PartStatus:
    """What is told of a part."""
    return asyncio.run(probe(part, environment, kind="real"))


def table(*parts: PartStatus) -> str:
    """What a person sees of them."""
    console = Console(file=StringIO(), width=4000)
    console.print(stack_table(parts))
    return console.file.getvalue()


def part_of(name: str) -> Part:
    """Whose setting it is."""
    return next(part for part in Part if name in CHOSEN_BY[part])


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(ADDRESSES)), SECRETS, PLACES)
def test_no_part_of_a_login_is_ever_told(name: str, secret: str, place: str):
    """Whatever it holds and whatever else is wrong with the address; and the line names the setting."""
    status = probed(part_of(name), {name: ADDRESSES[name].format(secret, place)})

    assert not status.healthy
    assert name in table(status)
    assert not [half for half in ("Zq8w", "Kp3v") if half in table(status) + repr(status)]


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([Part.MODEL, Part.SANDBOX]), SECRETS)
def test_no_part_of_a_key_is_ever_told(part: Part, secret: str):
    """A key that no header can hold is refused before a client shows it."""
    key, address = CHOSEN_BY[part]
    status = probed(part, {key: secret, address: f"http://{NOWHERE}"})

    assert not [half for half in ("Zq8w", "Kp3v") if half in table(status) + repr(status)]


def test_a_login_of_an_object_store_is_not_told():
    """The vendor's client names the whole address in its errors."""
    status = probed(
        Part.S3,
        {
            "AWS_ENDPOINT_URL_S3": f"http://me:hunter2@{NOWHERE}",
            "AWS_ACCESS_KEY_ID": "id",
            "AWS_SECRET_ACCESS_KEY": "secret",
        },
    )

    assert f"s3://nightshift-snapshots at http://{NOWHERE}" == status.address
    assert not status.healthy
    assert "check PROJECT_SNAPSHOT_BUCKET, AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID" in status.fix
    assert "hunter2" not in repr(status)


@pytest.mark.parametrize(
    ("environment", "reason", "fix"),
    [
        (
            {"TEMPORAL_CONFIG_FILE": "/nowhere.toml"},
            "'/nowhere.toml', which does not exist",
            "unset TEMPORAL_C",
        ),
        ({"TEMPORAL_PROFILE": "none"}, "Profile 'none' not found", "TEMPORAL_PROFILE"),
        ({"TEMPORAL_CONFIG_FILE": "/dev/null"}, "names an address", "set TEMPORAL_ADDRESS"),
        ({"TEMPORAL_ADDRESS": NOWHERE}, "does not answer: Connection refused", "check TEMPORAL_ADDRESS"),
    ],
)
def test_temporal_settings_that_lead_nowhere_are_told(environment: dict[str, str], reason: str, fix: str):
    """In a line, with the setting to mend."""
    status = probed(Part.TEMPORAL, environment)

    assert reason in status.reason
    assert fix in status.fix


def test_a_profile_that_cannot_be_read_is_not_shown(tmp_path: Path):
    """The file holds keys."""
    (tmp_path / "temporal.toml").write_text('[profile.default]\napi_key = "hunter2\n')
    status = probed(Part.TEMPORAL, {"TEMPORAL_CONFIG_FILE": str(tmp_path / "temporal.toml")})

    assert "line 2" in status.reason
    assert "hunter2" not in repr(status)


def test_what_a_person_set_is_no_markup():
    """A bracket in an address is shown, and breaks no table."""
    status = PartStatus(
        name=Part.S3, kind="real", address="s3://[/x]", version="", healthy=False, reason="[b]"
    )

    assert "s3://[/x]" in table(status)
    assert "[b]" in table(status)


async def test_one_bad_part_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each part has its line, each wrong setting its word, and the status tells of it."""
    wrong = {
        "NIGHTSHIFT_DATA": str(tmp_path),
        "DATABASE_URL": "postgresql://me:Zq8w@h:port/x",
        "REDIS_URL": "redis://[",
        "AWS_ENDPOINT_URL_S3": "http://[",
        "TEMPORAL_CONFIG_FILE": "/nowhere",
        "ANTHROPIC_BASE_URL": "http://me:Zq8w@[",
        "E2B_API_KEY": "e2b\nZq8w",
        "AUTONOMOUS_AGENT": "perhaps",
    }
    for name in {*wrong, *(name for names in CHOSEN_BY.values() for name in names)}:
        monkeypatch.delenv(name, raising=False)
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    console = Console(file=StringIO(), width=4000)

    assert 1 == await doctor(Namespace(), console)
    told = console.file.getvalue()
    assert "AUTONOMOUS_AGENT is 'perhaps': it can be true or false" in told
    assert not [name for name in wrong if name != "NIGHTSHIFT_DATA" and name not in told]
    assert "Zq8w" not in told


@pytest.mark.parametrize(
    ("settings_given", "relayed"),
    [
        ({"E2B_API_KEY": "e2b_0123"}, True),
        ({"E2B_API_KEY": "e2b_0123", "AWS_ENDPOINT_URL_S3": "http://192.168.1.9:9000"}, True),
        ({"E2B_API_KEY": "e2b_0123", "AWS_ENDPOINT_URL_S3": "http://minio:9000"}, True),
        ({"E2B_API_KEY": "e2b_0123", "AWS_ENDPOINT_URL_S3": "https://s3.corp.example"}, True),
        ({"E2B_API_KEY": "e2b_0123", "AWS_ENDPOINT_URL_S3": "https://s3.example.com"}, False),
        ({"E2B_API_KEY": "e2b_0123", "PROJECT_SNAPSHOT_BUCKET": "mine"}, False),
        ({"AWS_ENDPOINT_URL_S3": "http://192.168.1.9:9000"}, False),
    ],
)
async def test_a_store_out_of_the_real_sandbox_reach_is_told(
    settings_given: dict[str, str], monkeypatch: pytest.MonkeyPatch, *, relayed: bool
):
    """The doctor says that files go through the worker where E2B cannot reach the store, and only there."""

    async def resolve(host: str) -> list[str]:
        return {"s3.example.com": ["1.1.1.1"], "s3.corp.example": ["10.1.2.3"]}[host]

    for name in (name for names in CHOSEN_BY.values() for name in names):
        monkeypatch.delenv(name, raising=False)
    for name, value in settings_given.items():
        monkeypatch.setenv(name, value)
    parts = [
        PartStatus(
            name=part,
            kind="real" if is_real(part, settings_given) else "stand-in",
            address="",
            version="",
            healthy=True,
        )
        for part in Part
    ]

    assert relayed == await is_relayed(parts, resolve=resolve)
