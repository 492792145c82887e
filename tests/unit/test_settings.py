from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from activities.heartbeat import BEAT
from activities.settings import FORMS, Settings
from activities.wrong_settings import WrongSettings
from workflows.options import HEARTBEAT

SECRET = "sk-very-secret"
NAMES = [str(field.validation_alias or name.upper()) for name, field in Settings.model_fields.items()]


WEB = "http://h:1"
OTHERS = {
    "heartbeat_timeout_seconds": "2.5",
    "database_url": "postgresql://h/d",
    "redis_url": "redis://h",
    "sandbox_microdollars_per_second": "30.5",
    "snapshot_cadence": "phase",
    **dict.fromkeys(("anthropic_base_url", "e2b_api_url", "e2b_sandbox_url", "aws_endpoint_url_s3"), WEB),
}


@pytest.fixture(autouse=True)
def nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable and no `.env` of whoever runs the tests."""
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def test_nothing_set_is_enough():
    """Everything has a default; a secret's is empty."""
    settings = Settings.from_env()

    assert "" == settings.anthropic_api_key.get_secret_value()
    assert settings.autonomous_agent
    assert (False, False, False) == (
        settings.local_model,
        settings.local_sandbox,
        settings.allow_unisolated,
    )


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch):
    """Ours carry our prefix where the plain name could be another program's."""
    monkeypatch.setenv("E2B_TEMPLATE", "node-22")
    monkeypatch.setenv("NIGHTSHIFT_ALLOW_UNISOLATED", "true")
    settings = Settings.from_env()

    assert ("node-22", True) == (settings.e2b_template, settings.allow_unisolated)


def test_a_file_is_read_under_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`.env` holds what a person wrote once; a variable beats it."""
    (tmp_path / ".env").write_text("E2B_TEMPLATE=file\nAWS_REGION=eu-west-1\nUNKNOWN=1\n")
    monkeypatch.setenv("E2B_TEMPLATE", "variable")
    settings = Settings.from_env()

    assert ("variable", "eu-west-1") == (settings.e2b_template, settings.aws_region)


@pytest.mark.parametrize(
    ("variable", "field"),
    [("E2B_TEMPLATE", "e2b_template"), ("PROJECT_SNAPSHOT_BUCKET", "project_snapshot_bucket")],
)
def test_given_names_stand_over_the_environment(variable: str, field: str, monkeypatch: pytest.MonkeyPatch):
    """A stack hands out its own addresses as the same names."""
    monkeypatch.setenv(variable, "theirs")

    assert "ours" == getattr(Settings.from_env({variable: "ours"}), field)


@pytest.mark.parametrize("variable", NAMES)
def test_every_setting_can_be_given(variable: str):
    """No name is read from the environment only."""
    (name,) = [
        n for n, f in Settings.model_fields.items() if variable == str(f.validation_alias or n.upper())
    ]
    default = getattr(Settings.from_env(), name)
    other = OTHERS.get(name) or {bool: str(not default), int: "1861"}.get(type(default), "other")

    assert default != getattr(Settings.from_env({variable: other}), name)


@pytest.mark.parametrize(
    ("given", "price"),
    [
        ({}, "30.25"),
        ({"NIGHTSHIFT_LOCAL_SANDBOX": "true"}, "0"),
        ({"NIGHTSHIFT_LOCAL_SANDBOX": "true", "SANDBOX_MICRODOLLARS_PER_SECOND": "12.5"}, "12.5"),
        ({"SANDBOX_MICRODOLLARS_PER_SECOND": "0"}, "0"),
    ],
)
def test_the_price_of_a_sandbox(given: dict[str, str], price: str):
    """An account's costs what E2B lists for its default, the local one nothing, unless it is set."""
    assert Decimal(price) == Settings.from_env(given).price_of_sandbox


def test_the_heartbeat_timeout():
    """The default is that of a worker told nothing; in the shortest, a beat may be late by a beat."""
    shortest = Settings.from_env({"HEARTBEAT_TIMEOUT_SECONDS": "2"})

    assert HEARTBEAT == Settings.from_env().heartbeat_timeout
    assert 2 * BEAT <= shortest.heartbeat_timeout


def test_an_empty_value_is_none(monkeypatch: pytest.MonkeyPatch):
    """`E2B_TEMPLATE=` in a file or a shell means the default, not an empty name."""
    monkeypatch.setenv("PROJECT_SNAPSHOT_BUCKET", "")

    assert "nightshift-snapshots" == Settings.from_env().project_snapshot_bucket
    assert (
        "nightshift-snapshots" == Settings.from_env({"PROJECT_SNAPSHOT_BUCKET": ""}).project_snapshot_bucket
    )


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HEARTBEAT_TIMEOUT_SECONDS", "1.9"),
        ("HEARTBEAT_TIMEOUT_SECONDS", "nan"),
        ("HEARTBEAT_TIMEOUT_SECONDS", "a minute"),
        ("SANDBOX_TIMEOUT_SECONDS", "5"),
        ("SANDBOX_TIMEOUT_SECONDS", "an hour"),
        ("SANDBOX_MICRODOLLARS_PER_SECOND", "-1"),
        ("SANDBOX_MICRODOLLARS_PER_SECOND", "NaN"),
        ("AUTONOMOUS_AGENT", "perhaps"),
        ("NIGHTSHIFT_LOCAL_MODEL", "perhaps"),
    ],
)
@pytest.mark.parametrize("by", ["mapping", "environment"])
def test_a_wrong_value_is_refused_by_its_variable(
    variable: str, value: str, by: str, monkeypatch: pytest.MonkeyPatch
):
    """The person who set it finds it by the name that was set."""
    monkeypatch.setenv(variable, value if by == "environment" else "")
    with pytest.raises(WrongSettings) as found:
        Settings.from_env({variable: value} if by == "mapping" else None)

    (line,) = str(found.value).splitlines()
    assert line.startswith(f"{variable} is {value!r}: it ")
    allowed = {
        "HEARTBEAT": "a number from 2 to 60",
        "SANDBOX_TIMEOUT": "from 60 to 86400",
        "MICRODOLLARS": "a number from 0 to 1000000",
    }
    assert next((text for part, text in allowed.items() if part in variable), "true or false") in line


@pytest.mark.parametrize("name", FORMS)
def test_what_may_hold_a_secret_is_refused_unseen(name: str):
    """By its name, with the form that is meant, in a line."""
    with pytest.raises(WrongSettings) as found:
        Settings.from_env({name.upper(): f"{SECRET}\n@ {SECRET}"})

    assert [name.upper()] == list(found.value.lines)
    assert SECRET not in str(found.value)
    assert 1 == len(str(found.value).splitlines())


def test_a_file_that_is_no_text_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As an editor saves it that writes UTF-16."""
    (tmp_path / ".env").write_bytes("DEFAULT_MODEL=x".encode("utf-16"))
    monkeypatch.chdir(tmp_path)

    with pytest.raises(WrongSettings, match="Save it as UTF-8"):
        Settings.from_env()


def test_all_that_is_wrong_is_told_at_once():
    """Nobody mends a line to be told of the next."""
    with pytest.raises(WrongSettings) as found:
        Settings.from_env({"AUTONOMOUS_AGENT": "perhaps", "DATABASE_URL": "mysql://h"})

    assert {"AUTONOMOUS_AGENT", "DATABASE_URL"} == set(found.value.lines)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg"])
def test_a_database_is_kept_as_the_engine_takes_it(scheme: str):
    """The doctor, the migrations and the worker's pool are given one and the same address."""
    settings = Settings.from_env({"DATABASE_URL": f"{scheme}://u:p@h/d?ssl=require"})

    assert "postgresql+asyncpg://u:p@h/d?ssl=require" == settings.database_url.get_secret_value()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        *((name, SECRET) for name in ("ANTHROPIC_API_KEY", "E2B_API_KEY", "AWS_SECRET_ACCESS_KEY")),
        ("DATABASE_URL", f"postgresql+asyncpg://u:{SECRET}@h/d"),
        ("REDIS_URL", f"redis://:{SECRET}@h"),
    ],
)
def test_a_secret_is_never_shown(variable: str, value: str):
    """Not printed, not formatted, not dumped as JSON."""
    settings = Settings.from_env({variable: value})

    assert value == getattr(settings, variable.lower()).get_secret_value()
    assert not [
        said for said in (repr(settings), f"{settings}", settings.model_dump_json()) if SECRET in said
    ]


def test_every_key_and_every_url_with_a_password_is_a_secret():
    """A new credential is masked from its first day on."""
    fields = Settings.model_fields.items()
    open_ones = [
        name
        for name, field in fields
        if any(word in name for word in ("key", "secret", "token", "password", "database", "redis"))
        and field.annotation is not SecretStr
    ]

    assert [] == open_ones


def test_a_refusal_does_not_show_the_secrets_beside_it():
    """Errors reach logs."""
    with pytest.raises(WrongSettings) as found:
        Settings.from_env({"AUTONOMOUS_AGENT": "perhaps", "ANTHROPIC_API_KEY": SECRET})

    assert SECRET not in str(found.value)


def test_settings_are_fixed_once_read():
    """Nothing changes them under a running worker."""
    settings = Settings.from_env()
    with pytest.raises(ValidationError, match="frozen"):
        settings.autonomous_agent = False  # type: ignore[misc]
