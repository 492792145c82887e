"""The one place a Temporal client is made: environment configuration, data converter."""

from collections.abc import Mapping

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.envconfig import ClientConfig


async def connect(environment: Mapping[str, str] | None = None) -> Client:
    """Connect as Temporal's own variables and profiles say; `environment` stands over the process's.

    Raises RuntimeError when the server does not answer.
    """
    config = ClientConfig.load_client_connect_config(
        override_env_vars=dict(environment) if environment is not None else None
    )
    return await Client.connect(**config, data_converter=pydantic_data_converter)
