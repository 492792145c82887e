"""A server that does not know what builds are listed by is refused before a build hangs on it."""

import asyncio
import shlex
from datetime import timedelta

import pytest
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.service import RPCError

from starter.connect import connect
from starter.local.parts import Part
from starter.local.probe import probe
from starter.search_attributes import MissingSearchAttributes, check_search_attributes

NAMESPACE = "bare"


async def test_missing_attributes_are_named_with_the_command(everything):
    """Each missing attribute comes with the command that adds it; a server with all of them is taken."""
    client = await connect({**everything.environment, "TEMPORAL_NAMESPACE": NAMESPACE})
    request = RegisterNamespaceRequest(namespace=NAMESPACE)
    request.workflow_execution_retention_period.FromTimedelta(timedelta(days=1))
    await client.workflow_service.register_namespace(request)
    await _until_known(client)

    with pytest.raises(MissingSearchAttributes, match="--name BuildWakeAt --type Datetime") as found:
        await check_search_attributes(client)
    told = await probe(
        Part.TEMPORAL, {**everything.environment, "TEMPORAL_NAMESPACE": NAMESPACE}, kind="real"
    )
    assert told.fix == found.value.fix
    command = told.fix.removeprefix("add them: temporal ")
    assert 0 == (await everything.temporal(*shlex.split(command)))[0]
    await _until_listed(client)
    await check_search_attributes(client)
    await check_search_attributes(everything.client)


async def _until_known(client) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                await client.operator_service.list_search_attributes(
                    ListSearchAttributesRequest(namespace=NAMESPACE)
                )
            except RPCError:
                await asyncio.sleep(0.2)
            else:
                return


async def _until_listed(client) -> None:
    async with asyncio.timeout(30):
        request = ListSearchAttributesRequest(namespace=NAMESPACE)
        while (
            "BuildWakeAt"
            not in (await client.operator_service.list_search_attributes(request)).custom_attributes
        ):
            await asyncio.sleep(0.2)
