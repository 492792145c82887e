"""Settings: the one reader of the environment. Knows names and defaults, opens nothing."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Everything that is configured, read once from the environment and `.env`.

    Temporal's own variables (TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_PROFILE, …) are read by
    `temporalio.envconfig`, as by the CLI.
    """

    model_config = SettingsConfigDict(
        frozen=True, env_file=".env", env_file_encoding="utf-8", extra="ignore", env_ignore_empty=True
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
    """postgresql+asyncpg://…"""
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
    sandbox_timeout_seconds: Annotated[int, Field(ge=60, le=86_400)] = 3_600
    """How long a sandbox lives unless lengthened, seconds."""
    installation_id: Annotated[str, Field(validation_alias="NIGHTSHIFT_INSTALLATION_ID")] = "local"
    """Marks what this installation created, for sweeping."""
    allow_unisolated: Annotated[bool, Field(validation_alias="NIGHTSHIFT_ALLOW_UNISOLATED")] = False
    """Let a real model work in a local sandbox without isolation."""
    local_model: Annotated[bool, Field(validation_alias="NIGHTSHIFT_LOCAL_MODEL")] = False
    """The model is the scripted stand-in; set by the stack."""
    local_sandbox: Annotated[bool, Field(validation_alias="NIGHTSHIFT_LOCAL_SANDBOX")] = False
    """The sandbox is the local stand-in; set by the stack."""
    default_model: str = "claude-sonnet-5-5"
    """The coder's model where neither user nor plan names one."""

    @classmethod
    def variables(cls) -> tuple[str, ...]:
        """The names under which the environment holds them, in the order of the fields."""
        return tuple(str(field.validation_alias or name.upper()) for name, field in cls.model_fields.items())

    @classmethod
    def from_env(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read the environment once, `environment` before the process's own.

        Raises pydantic's ValidationError naming the variable.
        """
        values: dict[str, Any] = {}
        for variable, (name, field) in zip(cls.variables(), cls.model_fields.items(), strict=True):
            if environment and environment.get(variable):
                values[str(field.validation_alias or name)] = environment[variable]
        return cls(**values)
