"""The one place a Temporal client is made: environment configuration, data converter."""

from collections.abc import Mapping

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from starter.local.temporal_profile import connect_config


async def connect(environment: Mapping[str, str] | None = None) -> Client:
    """Connect as Temporal's own variables and profiles say; `environment` stands over the process's.

    Raises PartFailed where they name no server, RuntimeError when the server does not answer.
    """
    return await Client.connect(**connect_config(environment), data_converter=pydantic_data_converter)
