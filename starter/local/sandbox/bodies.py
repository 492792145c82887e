"""The bodies of E2B's requests to the control plane, as far as they are understood here."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

PUBLIC_TRAFFIC = "allowPublicTraffic"
DEFAULT_TIMEOUT = 300

Seconds = Annotated[int, Field(ge=0)]


class Body(BaseModel):
    """Names in E2B's form."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class _AutoResume(Body):
    enabled: bool = False


class NewSandbox(Body):
    """The body of a creation."""

    template_id: str = Field(alias="templateID")
    timeout: Seconds = DEFAULT_TIMEOUT
    auto_pause: bool = False
    auto_pause_memory: bool = True
    auto_resume: _AutoResume | None = None
    allow_internet_access: bool | None = Field(default=None, alias="allow_internet_access")
    metadata: dict[str, str] = {}
    env_vars: dict[str, str] = {}
    network: dict[str, Any] | None = None
    mcp: Any = None
    iam: Any = None
    volume_mounts: list[Any] | None = None

    @property
    def is_public(self) -> bool:
        """Whether its ports are shown to whoever knows their names."""
        return (self.network or {}).get(PUBLIC_TRAFFIC) is not False

    def refuse_unsupported(self) -> None:
        """Refuse by name what the local sandbox cannot enforce; raises ValueError."""
        network = {name for name, value in (self.network or {}).items() if value and name != PUBLIC_TRAFFIC}
        asked = {"network": network, "mcp": self.mcp, "iam": self.iam, "volumeMounts": self.volume_mounts}
        if named := [name for name, value in asked.items() if value]:
            raise ValueError(
                f"The local sandbox does not have {' or '.join(named)}; leave it out of the creation."
            )


class Timeout(Body):
    """The body of a connect and of a change of the timeout."""

    timeout: Seconds = DEFAULT_TIMEOUT


class Pause(Body):
    """The body of a pause."""

    memory: bool = True
