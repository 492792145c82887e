"""PreviewWorkflow: serves the app of a finished build again, after its sandbox was paused or stopped."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from workflows import options
    from workflows.files import ProofReport, ServePreview
    from workflows.ports import Previews


@workflow.defn
class PreviewWorkflow:
    """One activity, with the retries and the record of a workflow."""

    @workflow.run
    async def run(self, request: ServePreview) -> ProofReport:
        """Serve the newest READY version of a build; `passed` is false where that cannot be."""
        return await workflow.execute_activity_method(
            Previews.serve_preview,
            request,
            summary=f"serve {request.workflow_id}",
            **options.SERVE_PREVIEW,
        )
