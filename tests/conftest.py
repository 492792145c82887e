"""Fixtures that more than one folder of tests uses."""

import gc
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment

from starter.local.java import time_skipping_server

# A run in the background may inherit an ignored SIGINT, and so would every child that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

SEARCH_ATTRIBUTES = {
    "BuildStatus": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    "BuildProject": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    "BuildUser": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    "BuildSpentCents": IndexedValueType.INDEXED_VALUE_TYPE_INT,
    "BuildWakeAt": IndexedValueType.INDEXED_VALUE_TYPE_DATETIME,
}

TimeSkipping = Callable[[], AbstractAsyncContextManager[WorkflowEnvironment]]


def pytest_collection_finish() -> None:
    """What was imported stays for good: the collector need not look through it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
async def time_skipping_program() -> Path:
    """The time-skipping server's program, built or fetched once."""
    return await time_skipping_server()


@pytest.fixture(scope="session")
def time_skipping(time_skipping_program: Path) -> TimeSkipping:
    """Starts a time-skipping server."""

    @asynccontextmanager
    async def start() -> AsyncIterator[WorkflowEnvironment]:
        async with await WorkflowEnvironment.start_time_skipping(
            data_converter=pydantic_data_converter,
            test_server_existing_path=str(time_skipping_program),
            test_server_startup_timeout=timedelta(minutes=1),
        ) as environment:
            await register_search_attributes(environment.client)
            yield environment

    return start


async def register_search_attributes(client: Client) -> None:
    """Register what builds are listed by; the time-skipping server knows none."""
    await client.operator_service.add_search_attributes(
        AddSearchAttributesRequest(search_attributes=SEARCH_ATTRIBUTES, namespace=client.namespace)
    )


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End without the interpreter's exit, which dies now and then once a Temporal client was open."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    status = getattr(config, "nightshift_status", None)
    if reporter is not None and status is not None:
        reporter._tw._file.flush()
        os._exit(status)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Keep the status that the run ends with."""
    session.config.nightshift_status = int(exitstatus)
