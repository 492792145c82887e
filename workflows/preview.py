"""PreviewWorkflow: serves the app of a finished build again, after its sandbox was paused or stopped."""

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from workflows import options
    from workflows.errors import FailureType
    from workflows.files import ProofReport
    from workflows.ports import Previews
    from workflows.requests import NO_INPUT, InvalidRequest, of_one_input, read_preview, refuse_surplus


@workflow.defn
class PreviewWorkflow:
    """One activity, with the retries and the record of a workflow."""

    @workflow.run
    @of_one_input
    async def run(self, given: RawValue = NO_INPUT, *surplus: object) -> ProofReport:
        """Serve the newest READY version of a build; `passed` is false where that cannot be."""
        try:
            refuse_surplus(surplus)
            request = read_preview(given)
        except InvalidRequest as error:
            raise ApplicationError(
                str(error), type=FailureType.INVALID_BUILD_REQUEST, non_retryable=True
            ) from None
        return await workflow.execute_activity_method(
            Previews.serve_preview,
            request,
            summary=f"serve {request.workflow_id}",
            **options.SERVE_PREVIEW,
        )
