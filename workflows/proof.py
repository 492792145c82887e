"""Proof instead of claim: the software is installed, checked and started in a fresh sandbox.

Only source is restored into it, so that an undeclared dependency is found. Whoever speaks cuts it short.
"""

from datetime import timedelta

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
HEARS_ALL = "proof hears pause and steer"
"""Marks runs whose proof heeds everyone; in those that began before, it heeds a stop only."""
TELLS_UNDONE = "a proof waits for the model to hear what was undone"
"""Marks runs in which work that a loss undid is not proven as if it were the work that was ended."""
TELLS_OUTRUN = "a proof that outlasts its sandbox's run has failed"
"""Marks runs in which it is a failed proof; in those before, it was a loss and tried anew."""
CLOCKS = timedelta(minutes=1)
"""By how much the worker's clock and the server's may differ."""
OUTRUN = (
    "The proof took longer than the provider lets a sandbox run. Make install and checks shorter; or set "
    "SANDBOX_LONGEST_RUN_SECONDS, where the plan allows it (E2B's Pro: 86400)."
)
UNPROVEN = (
    "[checks] The proof of your work was cut short, as the founder spoke. "
    "It begins anew once you end your turn."
)


class _Interrupted(Exception):
    """Someone spoke while a proof was under way."""


class Proof:
    """Takes a build from CODE through DEPS and CHECKS, or back to CODE with a report."""

    def __init__(self, state: BuildState, journal: Journal, workspace: Workspace) -> None:
        self._state = state
        self._journal = journal
        self._workspace = workspace
        self._hears_all = False

    async def attempt(self) -> ProofReport | None:
        """Save, pause the building sandbox, and prove; none when it is to be proven again after a pause.

        Raises BuildFailed after too many failures, or when asked to stop.
        """
        state = self._state
        self._hears_all, state.heard = workflow.patched(HEARS_ALL), state.interrupts
        if self._hears_all and state.unheard:
            return ProofReport(passed=False)
        await self._workspace.pause()
        if state.undone and workflow.patched(TELLS_UNDONE):
            return ProofReport(passed=False)
        state.proofs += 1
        if state.trouble:
            return self._unsaved()
        state.go_forward()
        await self._journal.enter(Status.DEPS)
        try:
            report = await self._in_fresh_sandbox()
        except _Interrupted:
            return await self._give_up()
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
                if _is_outrun(state.check_sandbox):
                    return ProofReport(passed=False, summary=OUTRUN, report=OUTRUN)
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
            self._hear()
            if run is Checks.run_checks and state.status is Status.DEPS:
                await self._journal.enter(Status.CHECKS)
            activity = workflow.start_activity_method(run, step, summary=summary, **limits)
            report = await self._heed(activity)
            if not report.passed:
                break
        return report

    async def _heed(self, step: ActivityHandle[ProofReport]) -> ProofReport:
        """Await a step of the proof, which whoever speaks cuts short; raises _Interrupted then."""
        try:
            report = await heeding(step, self._is_interrupted)
        except ActivityError:
            self._hear()
            raise
        finally:
            heed_stop(self._state)
        self._hear()
        return report

    def _is_interrupted(self) -> bool:
        state = self._state
        if self._hears_all:
            return state.is_interrupted
        return state.stop_reason is not None or state.rewind is not None

    def _hear(self) -> None:
        heed_stop(self._state)
        if self._is_interrupted():
            raise _Interrupted

    async def _give_up(self) -> ProofReport | None:
        """Leave a proof that was cut short; it does not count, and the model first reads what was said."""
        state = self._state
        await self._drop_sandbox()
        state.proofs -= 1
        await self._journal.enter(Status.CODE, "the proof was interrupted")
        if not state.unheard:
            return None
        state.note(UNPROVEN)
        return ProofReport(passed=False)

    def _unsaved(self) -> ProofReport:
        """Send the model back to files that cannot be saved, and so not be restored and proven."""
        state = self._state
        if state.proofs >= guard.MAX_PROOFS:
            raise BuildFailed(Outcome.CHECKS_FAILED, f"The work cannot be proven: {state.trouble}")
        state.note(f"[checks] You ended your turn, but your work cannot be proven. {state.trouble}")
        return ProofReport(passed=False)

    async def _drop_sandbox(self) -> None:
        await self._workspace.kill(self._state.check_sandbox)
        self._state.check_sandbox = None

    async def _back_to_code(self, report: ProofReport) -> None:
        state = self._state
        await self._drop_sandbox()
        if state.proofs >= guard.MAX_PROOFS:
            raise BuildFailed(
                Outcome.CHECKS_FAILED, f"The checks failed {state.proofs} times; the last: {report.summary}"
            )
        state.note(f"[checks] You ended your turn, but the proof failed:\n{report.report}\nMend it, go on.")
        await self._journal.enter(Status.CODE, report.summary)


def _is_outrun(sandbox: SandboxRef) -> bool:
    """Tell whether the provider has ended the sandbox's longest run, and would end another's."""
    ends = sandbox.run_ends
    return ends is not None and workflow.now() >= ends - CLOCKS and workflow.patched(TELLS_OUTRUN)
