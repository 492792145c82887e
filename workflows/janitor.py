"""JanitorWorkflow: closes what builds left open whose run was ended from outside, and prunes their files.

A terminate runs no clean-up, so the money that such a build had set aside, its row and its sandboxes wait for
this. A schedule starts it; what is open and whether a run has closed is found out by its activities.
"""

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from workflows import options
    from workflows.leftovers import Cleared, EndedBuild, FindEnded, JanitorReport, PruneFiles, SweepSandboxes
    from workflows.ports import Janitor, Retention
    from workflows.requests import NO_INPUT, of_one_input


@workflow.defn
class JanitorWorkflow:
    """One round; it takes no input and ignores any."""

    @workflow.run
    @of_one_input
    async def run(self, _given: RawValue = NO_INPUT, *_surplus: object) -> JanitorReport:
        """Clear each build that has ended, then the sandboxes that no build holds, then old files."""
        found = await workflow.execute_activity_method(
            Janitor.find_ended, FindEnded(), summary="look for builds that were ended", **options.FIND_ENDED
        )
        done = [await self._clear(build) for build in found.builds]
        cleared = [each for each in done if each is not None]
        swept = await workflow.execute_activity_method(
            Janitor.sweep_sandboxes, SweepSandboxes(), summary="kill strays", **options.SWEEP_SANDBOXES
        )
        pruned = await workflow.execute_activity_method(
            Retention.prune_files, PruneFiles(), summary="delete what is not kept", **options.PRUNE_FILES
        )
        return JanitorReport(
            closed=sum(each.closed for each in cleared),
            lost=sum(each.lost for each in cleared),
            killed=sum(each.killed for each in cleared) + swept,
            failed=len(done) - len(cleared),
            unknown=found.unknown,
            points=pruned.points,
            objects=pruned.objects,
        )

    async def _clear(self, build: EndedBuild) -> Cleared | None:
        """Clear one build; one that fails for good does not keep the others waiting."""
        try:
            return await workflow.execute_activity_method(
                Janitor.clear_build,
                build,
                summary=f"{build.workflow_id} was {build.how.lower()}",
                **options.CLEAR_BUILD,
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            return None
