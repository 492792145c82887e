"""Proof instead of claim: the software is installed, checked and started in a fresh sandbox.

Only source is restored into it, so that an undeclared dependency is found.
"""

from temporalio import workflow
from temporalio.exceptions import ActivityError

from workflows import guard, options
from workflows.errors import BuildFailed, Outcome
from workflows.files import ProofReport, ProofStep, SandboxRef
from workflows.journal import Journal
from workflows.ports import Checks
from workflows.rest import heed_stop
from workflows.state import BuildState, Status
from workflows.workspace import Workspace, is_lost


class Proof:
    """Takes a build from CODE through DEPS and CHECKS, or back to CODE with a report."""

    def __init__(self, state: BuildState, journal: Journal, workspace: Workspace) -> None:
        self._state = state
        self._journal = journal
        self._workspace = workspace

    async def attempt(self) -> ProofReport:
        """Save, pause the building sandbox, and prove; raises BuildFailed after too many failures."""
        state = self._state
        await self._workspace.pause()
        state.proofs += 1
        await self._journal.enter(Status.DEPS)
        report = await self._in_fresh_sandbox()
        if not report.passed:
            await self._back_to_code(report)
        return report

    async def _in_fresh_sandbox(self) -> ProofReport:
        state = self._state
        while True:
            state.check_sandbox = await self._workspace.create(role="check")
            try:
                return await self._steps(state.check_sandbox)
            except ActivityError as error:
                if not is_lost(error):
                    raise
                await self._workspace.kill(state.check_sandbox)
                self._workspace.count_loss("it did not answer any more while the work was proven")

    async def _steps(self, sandbox: SandboxRef) -> ProofReport:
        state = self._state
        step = ProofStep(
            build_id=state.build_id,
            sandbox=sandbox,
            attempt=state.proofs,
            checks=state.checks,
            start=state.start,
        )
        report = await workflow.execute_activity_method(
            Checks.install_dependencies, step, summary="install", **options.INSTALL_DEPENDENCIES
        )
        if report.passed:
            heed_stop(state)
            if state.status is Status.DEPS:
                await self._journal.enter(Status.CHECKS)
            report = await workflow.execute_activity_method(
                Checks.run_checks, step, summary="run the checks", **options.RUN_CHECKS
            )
        if report.passed:
            heed_stop(state)
            report = await workflow.execute_activity_method(
                Checks.start_preview, step, summary="start the app", **options.START_PREVIEW
            )
        heed_stop(state)
        return report

    async def _back_to_code(self, report: ProofReport) -> None:
        state = self._state
        await self._workspace.kill(state.check_sandbox)
        state.check_sandbox = None
        if state.proofs >= guard.MAX_PROOFS:
            raise BuildFailed(
                Outcome.CHECKS_FAILED, f"The checks failed {state.proofs} times; the last: {report.summary}"
            )
        state.note(f"[checks] You ended your turn, but the proof failed:\n{report.report}\nMend it, go on.")
        await self._journal.enter(Status.CODE, report.summary)
