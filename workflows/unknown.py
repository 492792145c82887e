"""UnknownWorkflow: ends a run of a mistyped workflow type, which would otherwise wait for ever."""

from collections.abc import Sequence
from typing import NoReturn

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError


@workflow.defn(dynamic=True)
class UnknownWorkflow:
    """Takes every type that no other workflow has."""

    @workflow.run
    async def run(self, _given: Sequence[RawValue]) -> NoReturn:
        """Fail at once, naming the types that there are."""
        raise ApplicationError(
            f"There is no workflow type {workflow.info().workflow_type!r}. "
            "To build, start `BuildWorkflow`; to serve the app of a finished build, `PreviewWorkflow`.",
            type="UnknownWorkflowType",
            non_retryable=True,
        )
