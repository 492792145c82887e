"""Carries out the calls of a reply: in order, once each, cut short when someone speaks, watched for loops.

Workflow code: it decides and waits, `run_tool` does. It knows no money and no proof.
"""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError
from temporalio.workflow import ActivityHandle

from workflows import guard, options
from workflows.errors import BuildFailed, Outcome
from workflows.journal import Journal
from workflows.ports import Tools
from workflows.rest import heeding, was_cut
from workflows.state import BuildState
from workflows.texts import told_of_late
from workflows.turns import ModelReply, ToolCall, ToolOutcome, ToolRun
from workflows.workspace import Workspace, is_lost

Step = TypeVar("Step")
REFUSES_UNAWARE = "no call changes files that went back before the model has heard of it"
"""Names the change since which calls of a reply are refused once a loss has undone what they build on."""


class Acting:
    """Acts and observes."""

    def __init__(self, state: BuildState, journal: Journal, workspace: Workspace) -> None:
        self._state = state
        self._journal = journal
        self._workspace = workspace

    async def act(self, reply: ModelReply, refuse: str) -> None:
        """Run the calls of a reply: read-only ones side by side, changing ones in order.

        `refuse`, if not empty, is the error result of them all. Raises BuildFailed on a loop.
        """
        traces: list[str] = []
        self._state.acting = len(reply.tool_calls)
        for batch in guard.batches(reply.tool_calls):
            if batch[0].changing:
                await self._workspace.saved()
            left = self._state.max_tool_calls - self._state.tool_calls
            outcomes = await side_by_side(
                *(self._run(call, refuse or _beyond(place, left)) for place, call in enumerate(batch))
            )
            for call, outcome in zip(batch, outcomes, strict=True):
                self._observe(call, outcome)
                traces.append(guard.trace_of(call, outcome))
            self._workspace.save_due("call")
        if not refuse and not self._state.is_interrupted:
            self._watch_repetition(reply.tool_calls, tuple(traces))

    async def _run(self, call: ToolCall, refuse: str) -> ToolOutcome:
        """Run one call in a good sandbox; one that is refused or cut short counts as without effect."""
        state, unbegun = self._state, guard.INTERRUPTED
        while True:
            sandbox = await self._workspace.ready()
            refused = refuse or (unbegun if state.is_interrupted else "") or self._unaware(call)
            run = ToolRun(
                build_id=state.build_id, head=state.head, call=call, sandbox=sandbox, refuse=refused
            )
            try:
                return await self._heed(run)
            except ActivityError as error:
                if is_lost(error):
                    await self._workspace.recover(sandbox, "it did not answer any more")
                elif not refused and state.is_interrupted and was_cut(error):
                    unbegun = guard.CUT_SHORT
                else:
                    raise

    def _unaware(self, call: ToolCall) -> str:
        """Refuse a call that would change files which went back meanwhile, as the model does not know it."""
        is_unaware = call.changing and self._state.undone
        return guard.UNDONE if is_unaware and workflow.patched(REFUSES_UNAWARE) else ""

    async def _heed(self, run: ToolRun) -> ToolOutcome:
        if run.refuse:
            return (await _started(run)).model_copy(update={"interrupted": True})
        return await heeding(_started(run), lambda: self._state.is_interrupted)

    def _observe(self, call: ToolCall, outcome: ToolOutcome) -> None:
        state = self._state
        state.tool_calls += 1
        state.acting -= 1
        self._observe_files(call, outcome)
        if guard.is_progress(state.failing, call, outcome):
            state.go_forward()
        state.failing = guard.failing_after(state.failing, call, outcome)
        if guard.begins_phase(outcome):
            state.reminders = 0
        if outcome.phase or outcome.plan_item:
            state.plan_item = outcome.plan_item
        if outcome.phase:
            state.phase = outcome.phase
            state.open_phases = tuple(name for name in state.open_phases if name != outcome.phase)
            self._journal.note(f"phase {outcome.phase}")

    def _observe_files(self, call: ToolCall, outcome: ToolOutcome) -> None:
        """Note what a call did to the sandbox; where it ended in one that is lost, tell that it is undone."""
        state = self._state
        state.captured = max(state.captured, outcome.captured)
        if outcome.undone:
            state.undone = True
            state.note(told_of_late(f"{call.tool}: {call.label}"))
        elif call.changing and outcome.has_effect:
            state.unsaved = (*state.unsaved, f"{call.tool}: {call.label}")
        if outcome.uncaptured or outcome.captured:
            state.uncaptured = outcome.uncaptured
        if outcome.running is not None:
            state.running = outcome.running

    def _watch_repetition(self, calls: tuple[ToolCall, ...], traces: tuple[str, ...]) -> None:
        state = self._state
        state.recent_calls = guard.window_after(state.recent_calls, traces)
        if not guard.is_loop(state.recent_calls):
            return
        if state.steered:
            last = f"{calls[-1].tool} {calls[-1].label}"
            raise BuildFailed(Outcome.REPETITION, f"The agent repeats itself: {last}")
        state.steered, state.recent_calls = True, ()
        state.note(guard.REPETITION_NOTE)


def _beyond(place: int, left: int) -> str:
    return guard.OVER_LIMIT if place >= left else ""


def _started(run: ToolRun) -> ActivityHandle[ToolOutcome]:
    return workflow.start_activity_method(
        Tools.run_tool,
        run,
        summary=f"{run.call.tool}: {run.call.label}",
        # A command that is cut short is killed, and its result written, before anything follows.
        cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        **options.RUN_TOOL,
    )


async def side_by_side(*steps: Awaitable[Step]) -> list[Step]:
    """Await all to their ends, then raise the first failure: none goes on while the build ends."""
    ended = await asyncio.gather(*steps, return_exceptions=True)
    for one in ended:
        if isinstance(one, BaseException):
            raise one
    return [one for one in ended if not isinstance(one, BaseException)]
