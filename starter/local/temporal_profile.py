"""How Temporal's own variables and profiles say to connect; says in a line what is wrong with them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from temporalio.envconfig import ClientConfig, ClientConnectConfig

from starter.local.parts import Part, PartFailed

FILE = "TEMPORAL_CONFIG_FILE"


def connect_config(environment: Mapping[str, str] | None = None) -> ClientConnectConfig:
    """What to give `Client.connect`; raises PartFailed where the settings lead to no server."""
    settings = os.environ if environment is None else environment
    file = settings.get(FILE)
    if file and not Path(file).exists():
        raise _unusable(f"{FILE} names {file!r}, which does not exist", fix=f"correct or unset {FILE}")
    try:
        config = ClientConfig.load_client_connect_config(override_env_vars=dict(settings))
    except RuntimeError as error:
        # Further lines show the file's own, which may hold a key.
        why = str(error).partition("\n")[0]
        raise _unusable(why, fix=f"check TEMPORAL_PROFILE and the file that {FILE} names") from None
    if "target_host" not in config:
        raise _unusable("neither the settings nor the profile names an address", fix="set TEMPORAL_ADDRESS")
    return config


def _unusable(why: str, *, fix: str) -> PartFailed:
    return PartFailed(Part.TEMPORAL, why=why, fix=fix)
