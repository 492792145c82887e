"""The ends of a build: files saved, sandboxes killed but for the preview's, row closed, result made."""

import asyncio
from collections.abc import Awaitable, Coroutine
from contextlib import suppress
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from workflows import options
from workflows.errors import BuildFailed, FailureType, Outcome
from workflows.journal import Journal
from workflows.models import BuildResult, FinishBuild
from workflows.ports import Builds
from workflows.state import BuildState, Status
from workflows.steering import MAX_REASON_CHARS, said
from workflows.workspace import Workspace

_OF_SANDBOXES = frozenset(
    {FailureType.SANDBOX_LOST, FailureType.INVALID_TEMPLATE, FailureType.INVALID_RESTORE_POINT}
)


class Ending:
    """Closes a build, once."""

    def __init__(self, state: BuildState, journal: Journal, workspace: Workspace) -> None:
        self._state = state
        self._journal = journal
        self._workspace = workspace

    async def ready(self, preview_url: str) -> BuildResult:
        """End as READY; the check sandbox stays for the preview."""
        state = self._state
        await self._workspace.kill(state.sandbox)
        state.sandbox, state.check_sandbox = state.check_sandbox, None
        state.outcome, state.message = Outcome.COMPLETED, f"{state.version} answers at {preview_url}"
        return await self._close(Status.READY, preview_url=preview_url)

    async def failed(self, outcome: Outcome, message: str) -> BuildResult:
        """End as FAILED with the files saved and nothing left running."""
        state = self._state
        # `prepare_build` names the row so; a cancel may have come before its answer.
        state.build_id = state.build_id or workflow.info().first_execution_run_id
        state.rest, state.wake_at = None, None
        state.outcome, state.message = outcome, message
        if outcome is not Outcome.SANDBOX_ERROR:
            await self._insist(self._workspace.keep(), "the last changes could not be saved")
        await self._workspace.kill(state.sandbox)
        await self._workspace.kill(state.check_sandbox)
        return await self._close(Status.FAILED, debug_id=workflow.uuid4().hex[:12])

    async def _close(self, status: Status, *, preview_url: str = "", debug_id: str = "") -> BuildResult:
        state = self._state
        await self._insist(self._journal.enter(status, state.message), "the end could not be shown")
        result = _result(state, preview_url, debug_id)
        await self._insist(self._finish(result), "the build's row could not be closed")
        await workflow.wait_condition(workflow.all_handlers_finished)
        return result.model_copy(update={"message": state.message, "spent_microdollars": state.spent})

    async def _insist(self, step: Awaitable[None], trouble: str) -> None:
        """Carry out a step of the end; one that fails for good is told, and the end goes on."""
        try:
            await step
        except ActivityError as error:
            self._state.message += f" ({trouble}: {outcome_of(error)[1]})"
            self._journal.note(trouble)

    async def _finish(self, result: BuildResult) -> None:
        state = self._state
        spent = await workflow.execute_activity_method(
            Builds.finish_build,
            FinishBuild(
                build_id=state.build_id,
                status="ready" if state.status is Status.READY else "failed",
                outcome=result.outcome,
                message=result.message,
                debug_id=result.debug_id,
                sandbox_id=result.sandbox_id,
                preview_url=result.preview_url,
                build_version=result.build_version,
                workspace=result.workspace_path,
                restore_point=state.restore_point,
            ),
            summary=f"{result.status}: {result.outcome}",
            **options.FINISH_BUILD,
        )
        if spent is not None and state.balance is not None:
            # The last seconds of the sandbox were booked with the end.
            state.see(state.balance.model_copy(update={"build_spent": spent}))


async def carried_through(ending: Coroutine[Any, Any, BuildResult]) -> BuildResult:
    """Await an end to its own end: a cancel that comes meanwhile is too late to cut it short."""
    task = asyncio.create_task(ending)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    return task.result()


def _result(state: BuildState, preview_url: str, debug_id: str) -> BuildResult:
    return BuildResult(
        status=state.status,
        outcome=state.outcome,
        sandbox_id=state.sandbox.sandbox_id if state.sandbox else "",
        preview_url=preview_url,
        build_version=state.version,
        workspace_path=state.sandbox.workspace if state.sandbox else "",
        snapshot_key=state.snapshot_key,
        turns=state.turns,
        tool_calls=state.tool_calls,
        spent_microdollars=state.spent,
        message=state.message,
        debug_id=debug_id,
    )


def refusal_of(error: ActivityError) -> ApplicationError:
    """The typed failure of a build that may not start."""
    cause = error.cause
    if not isinstance(cause, ApplicationError):
        text = f"The build could not be prepared: {cause or error}"
        return ApplicationError(text, type="PrepareFailed", non_retryable=True)
    kind = cause.type or FailureType.INVALID_BUILD_REQUEST
    return ApplicationError(cause.message, type=kind, non_retryable=True)


def end_of(error: BaseException) -> tuple[Outcome, str]:
    """The end that a build comes to by an error, and its sentence; a cancel comes before all others."""
    if (reason := workflow.cancellation_reason()) is not None:
        return Outcome.CANCELLED, f"Cancelled: {said([reason], MAX_REASON_CHARS) or 'no reason given'}"
    if isinstance(error, BuildFailed):
        return error.outcome, str(error)
    if isinstance(error, ActivityError):
        return outcome_of(error)
    raise error


def outcome_of(error: ActivityError) -> tuple[Outcome, str]:
    """The end that an activity's final failure leads to, and its sentence."""
    cause = error.cause
    kind = cause.type if isinstance(cause, ApplicationError) else ""
    text = cause.message if isinstance(cause, ApplicationError) else str(cause or error)
    if kind in _OF_SANDBOXES:
        return Outcome.SANDBOX_ERROR, text
    return Outcome.API_ERROR, f"{error.activity_type} failed: {text}"
