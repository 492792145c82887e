"""`temporal-dev.yaml`: the CLI's environment and the flags of the dev server; starts nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from starter.local.home import write_private
from starter.local.parts import Part, PartFailed
from starter.local.ports import Ports

FILE = "temporal-dev.yaml"
Number = Annotated[int, Field(ge=1, le=65535)]


class CommandFlags(BaseModel):
    """What every command of the CLI reads from `env: default:`."""

    model_config = ConfigDict(frozen=True, extra="allow")

    namespace: str = "default"
    port: Number = 7233
    ui_port: Number = Field(default=8233, alias="ui-port")
    log_level: str = Field(default="warn", alias="log-level")


class ServerFlags(BaseModel):
    """What `temporal server start-dev` takes more than once."""

    model_config = ConfigDict(frozen=True)

    search_attribute: dict[str, str] = Field(default_factory=dict, alias="search-attribute")
    dynamic_config_value: dict[str, bool | int | float | str] = Field(
        default_factory=dict, alias="dynamic-config-value"
    )


class _Environments(BaseModel):
    default: CommandFlags = CommandFlags()


class _File(BaseModel):
    env: _Environments = _Environments()
    start_dev: ServerFlags = Field(default=ServerFlags(), alias="start-dev")


@dataclass(frozen=True, slots=True, kw_only=True)
class TemporalSettings:
    """The flags of this checkout's dev server, its ports decided."""

    file: Path
    """What to give the CLI as `--env-file`."""
    port: int
    ui_port: int
    commands: CommandFlags
    server: ServerFlags

    @property
    def address(self) -> str:
        """Where the server is."""
        return f"127.0.0.1:{self.port}"

    def start_dev(self, database: Path) -> tuple[str, ...]:
        """The arguments of `temporal`; the environment file is left out, so that no flag comes twice."""
        argv = ["server", "start-dev", "--ip", "127.0.0.1", "--db-filename", str(database)]
        argv += ["--port", str(self.port), "--ui-port", str(self.ui_port)]
        argv += ["--log-level", self.commands.log_level]
        if self.commands.namespace != "default":
            argv += ["--namespace", self.commands.namespace]
        for name, kind in self.server.search_attribute.items():
            argv += ["--search-attribute", f"{name}={kind}"]
        for name, value in self.server.dynamic_config_value.items():
            argv += ["--dynamic-config-value", f"{name}={json.dumps(value)}"]
        return tuple(argv)


def settle(source: Path, *, copy: Path, ports: Ports, usual: bool) -> TemporalSettings:
    """Read the file and decide the ports; where they differ, a copy that says so is written and named."""
    content = _read(source)
    flags = content.env.default
    port = ports.claim("temporal", preferred=flags.port if usual else None)
    ui_port = ports.claim("temporal-ui", preferred=flags.ui_port if usual else None)
    file = source
    if (port, ui_port) != (flags.port, flags.ui_port):
        file = copy
        _write_copy(source, copy, port=port, ui_port=ui_port)
    else:
        copy.unlink(missing_ok=True)
    return TemporalSettings(file=file, port=port, ui_port=ui_port, commands=flags, server=content.start_dev)


def _read(source: Path) -> _File:
    try:
        return _File.model_validate(yaml.safe_load(source.read_text()))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise PartFailed(
            Part.TEMPORAL, why=f"{source} cannot be read: {error}", fix=f"restore {FILE} from git"
        ) from error


def _write_copy(source: Path, copy: Path, *, port: int, ui_port: int) -> None:
    content = yaml.safe_load(source.read_text())
    content["env"]["default"] |= {
        "address": f"127.0.0.1:{port}",
        "port": str(port),
        "ui-port": str(ui_port),
    }
    write_private(copy, text=yaml.safe_dump(content, sort_keys=False))
