"""Proof instead of claim: the software is installed, checked and started in a fresh sandbox.

Only source is restored into it, so that an undeclared dependency is found.
"""

from temporalio import workflow
from temporalio.exceptions import ActivityError
from temporalio.workflow import ActivityHandle

from workflows import guard, options
from workflows.errors import BuildFailed, Outcome
from workflows.files import ProofReport, ProofStep, SandboxRef
from workflows.journal import Journal
from workflows.ports import Checks
from workflows.rest import heed_stop, heeding
from workflows.state import BuildState, Status
from workflows.workspace import Workspace, is_lost

STEPS = (
    (Checks.install_dependencies, "install", options.INSTALL_DEPENDENCIES),
    (Checks.run_checks, "run the checks", options.RUN_CHECKS),
    (Checks.start_preview, "start the app", options.START_PREVIEW),
)
"""Each needs the one before it to have passed."""


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
        state.go_forward()
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
        report = ProofReport(passed=False)
        for run, summary, limits in STEPS:
            heed_stop(state)
            if run is Checks.run_checks and state.status is Status.DEPS:
                await self._journal.enter(Status.CHECKS)
            activity = workflow.start_activity_method(run, step, summary=summary, **limits)
            report = await self._heed(activity)
            if not report.passed:
                break
        return report

    async def _heed(self, step: ActivityHandle[ProofReport]) -> ProofReport:
        """Await a step of the proof; a stop cuts it short."""
        state = self._state
        try:
            return await heeding(step, lambda: state.stop_reason is not None)
        finally:
            heed_stop(state)

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
