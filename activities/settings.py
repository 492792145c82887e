"""Settings: the one reader of the environment. Knows names and defaults, opens nothing."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, Self, get_args, get_origin

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from activities.addresses import database_address, key, redis_address, web_address
from activities.wrong_settings import WrongSettings
from workflows.models import Cadence

FORMS: Mapping[str, Callable[[str], str]] = {
    "anthropic_api_key": key,
    "anthropic_base_url": web_address,
    "e2b_api_key": key,
    "e2b_api_url": web_address,
    "e2b_sandbox_url": web_address,
    "database_url": database_address,
    "redis_url": redis_address,
    "aws_endpoint_url_s3": web_address,
    "aws_access_key_id": key,
    "aws_secret_access_key": key,
}
"""Field → what makes one form of the forms that people write, or raises a ValueError without the value."""
E2B_PRICE = Decimal("30.25")
"""Microdollars a second of E2B's default template, 2 vCPU and 512 MiB: $0.000014 a vCPU, $0.0000045 a GiB.

Its public list of 2026-11, https://e2b.dev/docs/faq/calculate-sandbox-price; a paused sandbox costs nothing.
"""
_NUMBERS: Mapping[object, str] = {int: "whole number", float: "number", Decimal | None: "number"}
LONGEST_VALUE = 100
"""Characters of a wrong value that are shown."""


class Settings(BaseSettings):
    """Everything that is configured, read once from the environment and `.env`.

    Temporal's own variables (TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_PROFILE, …) are read by
    `temporalio.envconfig`, as by the CLI.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        env_file=".env",
        env_file_encoding="utf-8",
        extra="ignore",
        env_ignore_empty=True,
        hide_input_in_errors=True,
    )

    anthropic_api_key: SecretStr = SecretStr("")
    """Key of the Messages API."""
    anthropic_base_url: str = ""
    """Another address of the Messages API; empty: the vendor's."""
    e2b_api_key: SecretStr = SecretStr("")
    """Key of the sandbox provider."""
    e2b_api_url: str = ""
    """Another control plane; empty: the vendor's."""
    e2b_sandbox_url: str = ""
    """Another data plane; empty: the vendor's."""
    e2b_template: str = ""
    """Template of new sandboxes; empty: the provider's default."""
    database_url: SecretStr = SecretStr("")
    """postgresql://…, as libpq and SQLAlchemy know it; kept as SQLAlchemy and asyncpg take it."""
    redis_url: SecretStr = SecretStr("")
    """redis://, rediss:// or unix://"""
    project_snapshot_bucket: str = "nightshift-snapshots"
    """Bucket of packs, manifests and screenshots."""
    aws_endpoint_url_s3: str = ""
    """Another S3 server; empty: AWS."""
    aws_access_key_id: SecretStr = SecretStr("")
    """Key id for S3; empty: what AWS's own chain finds."""
    aws_secret_access_key: SecretStr = SecretStr("")
    """Secret key for S3."""
    aws_region: str = "us-east-1"
    """Region of the bucket."""
    autonomous_agent: bool = True
    """The kill switch: false refuses new builds and parks running ones."""
    heartbeat_timeout_seconds: Annotated[float, Field(ge=2, le=60)] = 3.5
    """How long a killed or frozen worker goes unnoticed, seconds: two of its beats at least."""
    sandbox_timeout_seconds: Annotated[int, Field(ge=60, le=86_400)] = 3_600
    """How long a sandbox lives unless lengthened, seconds."""
    sandbox_longest_run_seconds: Annotated[int, Field(ge=1_800, le=86_400)] = 86_400
    """How long the provider lets a sandbox run without a pause, seconds: 86400 on E2B's Pro, 3600 on Base."""
    sandbox_microdollars_per_second: Annotated[Decimal | None, Field(ge=0, le=1_000_000)] = None
    """What a running sandbox costs; none: E2B's list price, and 0 for the local stand-in."""
    allow_unisolated: Annotated[bool, Field(validation_alias="NIGHTSHIFT_ALLOW_UNISOLATED")] = False
    """Let a real model work in a local sandbox without isolation."""
    local_model: Annotated[bool, Field(validation_alias="NIGHTSHIFT_LOCAL_MODEL")] = False
    """The model is the scripted stand-in; set by the stack."""
    local_sandbox: Annotated[bool, Field(validation_alias="NIGHTSHIFT_LOCAL_SANDBOX")] = False
    """The sandbox is the local stand-in; set by the stack."""
    snapshot_cadence: Cadence = "turn"
    """When what was captured is uploaded: after each changing `call`, after each `turn`, or each `phase`."""
    snapshot_full: bool = False
    """Every snapshot packs all files again, rather than what changed."""
    snapshot_max_entries: Annotated[int, Field(ge=1)] = 500_000
    """Files and directories that a snapshot takes; what is beyond them is left out and named."""
    snapshot_max_changed_bytes: Annotated[int, Field(ge=1)] = 2 * 1024**3
    """Bytes of changed files that one capture takes."""
    snapshot_max_file_bytes: Annotated[int, Field(ge=1)] = 1024**3
    """The largest file that is saved, bytes."""
    default_model: str = "claude-sonnet-5-5"
    """The coder's model where neither user nor plan names one."""

    @property
    def price_of_sandbox(self) -> Decimal:
        """What a second of a running sandbox costs, microdollars."""
        if self.sandbox_microdollars_per_second is not None:
            return self.sandbox_microdollars_per_second
        return Decimal(0) if self.local_sandbox else E2B_PRICE

    @property
    def heartbeat_timeout(self) -> timedelta:
        """How long a killed or frozen worker goes unnoticed."""
        return timedelta(seconds=self.heartbeat_timeout_seconds)

    @property
    def sandbox_session(self) -> timedelta:
        """How long a sandbox lives from its creation, resume or lengthening."""
        return timedelta(seconds=min(self.sandbox_timeout_seconds, self.sandbox_longest_run_seconds))

    @field_validator(*FORMS, mode="before")
    @classmethod
    def _as_meant(cls, value: object, info: ValidationInfo) -> object:
        given = value.get_secret_value() if isinstance(value, SecretStr) else value
        return FORMS[str(info.field_name)](given) if isinstance(given, str) and given else value

    @property
    def capture_limits(self) -> dict[str, int]:
        """The limits of a capture, as the runner names them."""
        return {
            "entries": self.snapshot_max_entries,
            "changed_bytes": self.snapshot_max_changed_bytes,
            "file_bytes": self.snapshot_max_file_bytes,
        }

    @classmethod
    def variables(cls) -> tuple[str, ...]:
        """The names under which the environment holds them, in the order of the fields."""
        return tuple(_variable(name, field) for name, field in cls.model_fields.items())

    @classmethod
    def from_env(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read the environment once, `environment` before the process's own.

        Raises WrongSettings naming each variable.
        """
        values: dict[str, Any] = {}
        for variable, (name, field) in zip(cls.variables(), cls.model_fields.items(), strict=True):
            if environment and environment.get(variable):
                values[str(field.validation_alias or name)] = environment[variable]
        try:
            return cls(**values)
        except UnicodeDecodeError:
            raise WrongSettings({".env": ".env: it is no UTF-8 text. Save it as UTF-8."}) from None
        except ValidationError as error:
            lines = dict(_line(cls.model_fields, found) for found in error.errors())
        raise WrongSettings(lines)


def _variable(name: str, field: FieldInfo) -> str:
    return str(field.validation_alias or name.upper())


def _line(fields: Mapping[str, FieldInfo], found: Mapping[str, Any]) -> tuple[str, str]:
    place = str(found["loc"][0])
    (name,) = (name for name, field in fields.items() if place in (name, field.validation_alias))
    variable, given = _variable(name, fields[name]), found["input"]
    is_secret = name in FORMS or fields[name].annotation is SecretStr
    value = "" if is_secret else f" is {str(given)[:LONGEST_VALUE]!r}"
    told = found.get("ctx", {}).get("error")
    allowed = str(told) if told else _allowed(fields[name])
    return variable, f"{variable}{value}: {allowed}. Correct it in the environment or in `.env`."


def _allowed(field: FieldInfo) -> str:
    if field.annotation is bool:
        return "it can be true or false"
    if get_origin(field.annotation) is Literal:
        choices = get_args(field.annotation)
        return f"it can be {', '.join(choices[:-1])} or {choices[-1]}"
    if (number := _NUMBERS.get(field.annotation)) is None:
        return "it must be a text"
    bounds = [
        str(getattr(one, side)) for one in field.metadata for side in ("ge", "le") if hasattr(one, side)
    ]
    least = f", {bounds[0]} or more" if len(bounds) == 1 else ""
    return f"it must be a {number}" + (f" from {' to '.join(bounds)}" if len(bounds) > 1 else least)
