"""Why and how a build stands still: asked to pause, switched off, in need of a person or of money.

One idiom: save, pause the sandbox, one durable timer or a wake, look again.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, RetryState, is_cancelled_exception
from temporalio.exceptions import TimeoutError as ActivityTimeout
from temporalio.workflow import ActivityHandle

from workflows import budget
from workflows.errors import BuildFailed, FailureType, Outcome
from workflows.journal import Journal
from workflows.state import BuildState, Rest, Stage
from workflows.turns import ModelReply, Refusal
from workflows.workspace import Workspace

Answer = TypeVar("Answer")
ASKS = "too dear asks"
"""Marks runs that ask when a call is dearer than a day; those that began before end."""
HEEDS_FIRST = "who spoke is heeded before a question"
"""Marks runs that ask nothing while someone waits to be heard; in those before, it had to wait."""


async def heeding(step: ActivityHandle[Answer], is_over: Callable[[], bool]) -> Answer:
    """Await an activity, and cancel it once `is_over`; what it gives all the same is given.

    Raises ActivityError, for which `was_cut` tells whether the cancel was its cause.
    """
    try:
        await workflow.wait_condition(lambda: step.done() or is_over())
    except asyncio.CancelledError:
        step.cancel()
        with suppress(ActivityError):
            await step
        raise
    if not step.done():
        step.cancel()
    return await step


def was_cut(error: ActivityError) -> bool:
    """Tell whether a cancelled activity ended by it, died, or failed and is for that not tried again."""
    cause = error.cause
    if is_cancelled_exception(error) or isinstance(cause, ActivityTimeout):
        return True
    untried = error.retry_state is RetryState.CANCEL_REQUESTED
    return untried and not (isinstance(cause, ApplicationError) and cause.non_retryable)


def asked_by(error: ActivityError) -> str:
    """Give what a person must mend before an activity can succeed; empty where that is not why it failed."""
    cause = error.cause
    if isinstance(cause, ApplicationError) and cause.type == FailureType.PERSON_NEEDED:
        return cause.message
    return ""


def heed_stop(state: BuildState) -> None:
    """Raise BuildFailed once someone asked to stop."""
    if state.stop_reason is not None:
        raise BuildFailed(Outcome.STOPPED, f"Stopped: {state.stop_reason}")


class Resting:
    """Holds a build until it may go on."""

    def __init__(self, state: BuildState, journal: Journal, workspace: Workspace) -> None:
        self._state = state
        self._journal = journal
        self._workspace = workspace

    async def hold(self) -> None:
        """Pause while asked to; raises BuildFailed when asked to stop."""
        state = self._state
        while state.paused and state.stop_reason is None:
            await self._rest(Rest.PAUSED, lambda: not state.paused or state.stop_reason is not None)
        heed_stop(state)

    async def after(self, reply: ModelReply, wakes: int) -> None:
        """Rest for the reason that no reply was bought; a wake newer than `wakes` ends it."""
        if reply.refused is Refusal.TOO_DEAR:
            question = budget.too_dear(reply.balance)
            if not workflow.patched(ASKS):
                raise BuildFailed(Outcome.BUDGET_EXCEEDED, question)
            await self.ask(question, wakes)
            return
        if reply.refused is Refusal.USED_UP:
            raise BuildFailed(Outcome.BUDGET_EXCEEDED, budget.used_up(self._state.budget, reply.balance))
        rest, until = self._rest_for(reply)
        await self._rest(rest, lambda: self._state.wakes > wakes, until)
        if rest is Rest.SLEEPING:
            # Woken before the new day, it is told of the money that is left, and has its last calls again.
            self._state.stage, self._state.last_calls = Stage.NORMAL, 0

    async def ask(self, question: str, wakes: int) -> None:
        """Wait for what only a person can mend: a wake newer than `wakes` ends it, or an hour.

        Someone who spoke meanwhile is heeded first; the question comes again by itself.
        """
        state = self._state
        if state.is_interrupted and workflow.patched(HEEDS_FIRST):
            return
        state.message = question
        await self._rest(Rest.ASKING, lambda: state.wakes > wakes, workflow.now() + budget.ASK_WAIT)
        state.message = ""

    def _rest_for(self, reply: ModelReply) -> tuple[Rest, datetime]:
        now = workflow.now()
        if reply.refused is Refusal.BUSY:
            return Rest.BUSY, now + budget.BUSY_WAIT
        if reply.refused is Refusal.SPENT:
            return Rest.SLEEPING, budget.wake_time(now, reply.balance, workflow.random().random())
        return Rest.SWITCHED_OFF, now + budget.SWITCH_WAIT

    async def _rest(self, rest: Rest, over: Callable[[], bool], wake_at: datetime | None = None) -> None:
        """Rest until a moment, however long it takes to save and to tell; a late one is still a rest."""
        state = self._state
        if rest is not Rest.BUSY:
            await self._workspace.pause()
        state.rest, state.wake_at = rest, wake_at
        until = f"until {state.wake_at:%Y-%m-%d %H:%M} UTC" if state.wake_at else "until `resume`"
        if rest is Rest.ASKING:
            await self._journal.tell("agent.waiting_for_input", state.message)
        else:
            await self._journal.tell("agent.sleeping", until)
        limit = budget.sleep_for(workflow.now(), wake_at) if wake_at else None
        try:
            await workflow.wait_condition(over, timeout=limit, timeout_summary=f"{rest} {until}")
            why = "woken"
        except TimeoutError:
            why = "it is time"
        state.rest, state.wake_at = None, None
        await self._journal.tell("agent.waking", why)
