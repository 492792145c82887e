"""BuildWorkflow: prepare → scaffold → code turns → deps → checks → ready. Read this file first.

It holds the order of things. Rules are pure functions beside it (`budget`, `guard`, `requests`, `state`);
the calls of a reply are carried out in `acting`, custody of the files is in `workspace`, standing still in
`rest`, proof in `proof`, the ends in `ending`, what people see in `journal`, what they say in `steering`,
what they change in `changing` and how they take it back in `rewinding`.
Effects are activities (`ports`).
"""

import asyncio
from typing import NoReturn

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception
from temporalio.workflow import ActivityHandle

with workflow.unsafe.imports_passed_through():
    from workflows import budget, guard, options
    from workflows.acting import Acting, side_by_side
    from workflows.ending import Ending, carried_through, end_of, refusal_of
    from workflows.errors import BuildFailed, FailureType, Outcome
    from workflows.files import ProofReport
    from workflows.journal import Journal
    from workflows.models import BuildRequest, BuildResult, PrepareBuild
    from workflows.ports import Builds, Ledger, Model
    from workflows.proof import Proof
    from workflows.requests import NO_INPUT, InvalidRequest, of_one_input, read_start, refuse_surplus
    from workflows.rest import Resting, asked_by, heeding, was_cut
    from workflows.rewinding import GoingBack, Rewinding
    from workflows.state import BuildState, Stage, Status
    from workflows.texts import dollars
    from workflows.turns import CostRecord, ModelCall, ModelReply, Refusal
    from workflows.workspace import Workspace

RUN_EVENTS = 2_000
"""Events after which a build goes on in a new run: a worker that takes it over replays them, at a quarter of
a millisecond to one each, within `options.WORKFLOW_TASK`."""
SLEEPER_EVENTS = 200
"""Events above which a build goes to sleep in a new run: waking then replays little."""


@workflow.defn
class BuildWorkflow(Rewinding):
    """A build, from an idea to running and proven software."""

    @workflow.init
    @of_one_input
    def __init__(self, given: RawValue = NO_INPUT, *surplus: object) -> None:
        self._invalid = ""
        self.state = BuildState()
        try:
            refuse_surplus(surplus)
            self.state = read_start(given, carried=workflow.info().continued_run_id is not None)
        except InvalidRequest as error:
            self._invalid = str(error)
        self._journal = Journal(self.state)
        self._workspace = Workspace(self.state)
        self._resting = Resting(self.state, self._journal, self._workspace)
        self._acting = Acting(self.state, self._journal, self._workspace)
        self._proof = Proof(self.state, self._journal, self._workspace)
        self._ending = Ending(self.state, self._journal, self._workspace)
        self._back = GoingBack(self.state, self._journal, self._workspace)
        self.is_ending, self.finding = False, asyncio.Lock()

    @workflow.run
    @of_one_input
    async def run(self, _given: RawValue = NO_INPUT, *_surplus: object) -> BuildResult:
        """Build until READY; every other end is an ApplicationError named for its outcome."""
        if self._invalid:
            failure = FailureType.INVALID_BUILD_REQUEST
            raise self._unbegun(ApplicationError(self._invalid, type=failure, non_retryable=True))
        try:
            preview_url = await self._build()
        except (BuildFailed, ActivityError, asyncio.CancelledError) as error:
            self.is_ending = True
            outcome, message = end_of(error)
            result = await carried_through(self._ending.failed(outcome, message))
            if outcome is Outcome.CANCELLED:
                raise asyncio.CancelledError(result.message) from None
            raise ApplicationError(result.message, result, type=outcome, non_retryable=True) from None
        self.is_ending = True
        return await carried_through(self._ending.ready(preview_url))

    async def _build(self) -> str:
        """Work until proven; gives the preview's address."""
        if self.state.status is Status.STARTING:
            await self._prepare()
        if self.state.status is Status.SCAFFOLD:
            await self._workspace.ready()
            await self._journal.enter(Status.CODE)
        while True:
            while not await self._turn():
                pass
            proof = await self._prove()
            if proof.passed:
                return proof.preview_url

    async def _prove(self) -> ProofReport:
        """Prove the work, anew after a pause cut it short; raises BuildFailed when asked to stop."""
        while True:
            await self._resting.hold()
            if self.state.rewind is not None:
                return ProofReport(passed=False)
            proof = await self._proof.attempt()
            if proof is not None:
                return proof

    async def _prepare(self) -> None:
        state = self.state
        try:
            prepared = await workflow.execute_activity_method(
                Builds.prepare_build,
                PrepareBuild(request=state.request, build_id=workflow.info().first_execution_run_id),
                summary="check the request, number the build",
                # A row that is written after the build was cancelled would stay open.
                cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
                **options.PREPARE_BUILD,
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            raise self._unbegun(refusal_of(error)) from None
        state.begin(prepared)
        state.request = BuildRequest()
        if workflow.cancellation_reason() is not None:
            raise asyncio.CancelledError
        await self._journal.enter(Status.SCAFFOLD)

    def _unbegun(self, failure: ApplicationError) -> ApplicationError:
        """Note, for who asks later, that the build did not start and why."""
        self.state.move(Status.FAILED)
        self.state.outcome, self.state.message = failure.type or "", failure.message
        return failure

    async def _turn(self) -> bool:
        """Think, act, observe; True when the model says that it is done and has heard everyone."""
        state = self.state
        reply, phase = await self._think(), state.phase
        if budget.is_runaway(reply):
            text = f"One call cost {dollars(reply.overrun)} more than was set aside for it."
            raise BuildFailed(Outcome.BUDGET_EXCEEDED, text)
        following = guard.after_reply(reply)
        if following is guard.Next.REFUSED:
            raise BuildFailed(Outcome.REFUSED, f"The model declined to go on: {reply.preview or 'no reason'}")
        refuse = "" if following is guard.Next.ACT else guard.NOT_RUN
        await side_by_side(self._record_cost(reply), self._acting.act(reply, refuse))
        if state.rewind is not None:
            return False
        self._workspace.save_due("turn" if state.phase == phase else "phase")
        self._nudge(reply, following)
        self._watch_money()
        self._journal.show()
        return following is guard.Next.REPORT and not state.unheard and not self._remind()

    async def _think(self) -> ModelReply:
        """Get the next reply, resting for as long as one may not be bought."""
        while True:
            if self._is_run_long():
                await self._continue_as_new()
            await self._resting.hold()
            await self._back.go()
            await self._workspace.renew()
            self._heed_limit()
            wakes = self.state.wakes
            reply = await self._call_model()
            # A reply that came all the same is left behind: the conversation goes on elsewhere.
            if reply is None or self.state.rewind is not None:
                continue
            if reply.refused is None:
                return reply
            if reply.refused not in (Refusal.TOO_DEAR, Refusal.USED_UP) and _events() > SLEEPER_EVENTS:
                await self._continue_as_new()
            await self._resting.after(reply, wakes)

    def _heed_limit(self) -> None:
        state = self.state
        if state.tool_calls >= state.max_tool_calls:
            raise BuildFailed(
                Outcome.ITERATION_LIMIT,
                f"All {state.max_tool_calls} tool calls are used. Start again with more `max_tool_calls`.",
            )

    async def _call_model(self) -> ModelReply | None:
        """Buy a reply; none when someone interrupted before it was whole, or had to mend something first."""
        state = self.state
        notes, state.heard = state.notes, state.interrupts
        try:
            reply = await heeding(self._start_call(notes), lambda: state.is_interrupted)
        except ActivityError as error:
            if question := asked_by(error):
                await self._resting.ask(question, state.wakes)
                return None
            if not (state.is_interrupted and was_cut(error)):
                raise
            self._journal.note("the model was interrupted")
            return None
        if reply.balance is not None:
            state.see(reply.balance)
        if reply.refused is None:
            state.take_reply(reply.head, notes)
        return reply

    def _start_call(self, notes: tuple[str, ...]) -> ActivityHandle[ModelReply]:
        state = self.state
        return workflow.start_activity_method(
            Model.call_model,
            ModelCall(
                build_id=state.build_id,
                user=state.user,
                model=state.model,
                head=state.head,
                notes=notes,
                turn=state.turns + 1,
                phase=state.phase,
                plan_item=state.plan_item,
                compact=state.full_context,
                wound_down=state.last_calls >= budget.LAST_CALLS,
            ),
            summary=f"turn {state.turns + 1}" + (f", {state.phase}" if state.phase else ""),
            # What was streamed so far is booked before anything follows.
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            **options.CALL_MODEL,
        )

    async def _record_cost(self, reply: ModelReply) -> None:
        state = self.state
        balance = await workflow.execute_activity_method(
            Ledger.record_cost,
            CostRecord(build_id=state.build_id, user=state.user, head=reply.head),
            summary=f"turn {state.turns} cost {dollars(reply.cost)}",
            **options.RECORD_COST,
        )
        state.see(balance)
        if note := budget.note_for(state.stage, balance):
            state.note(note)
        state.stage = budget.stage_of(balance)
        state.last_calls = state.last_calls + 1 if state.stage is Stage.WINDING_DOWN else 0

    def _nudge(self, reply: ModelReply, following: guard.Next) -> None:
        state = self.state
        if following is not guard.Next.NUDGE:
            state.nudges = 0
            return
        state.nudges += 1
        state.full_context = reply.stop_reason == guard.FULL_CONTEXT
        if state.nudges > guard.MAX_NUDGES:
            why = reply.stop_reason or "cut off"
            raise BuildFailed(Outcome.API_ERROR, f"{state.nudges} replies in a row led nowhere ({why}).")
        state.note(guard.nudge_for(reply.stop_reason))

    def _remind(self) -> bool:
        """Tell a model that says it is done of phases that have not begun, a bounded number of times."""
        state = self.state
        if not state.open_phases or state.reminders >= guard.MAX_REMINDERS:
            return False
        state.reminders += 1
        state.note(guard.reminder_for(state.open_phases))
        return True

    def _watch_money(self) -> None:
        """Tell the model once that money goes and nothing moves; raises BuildFailed if that does not help."""
        state = self.state
        spent = state.spent - state.progress_spent
        match guard.stall_after(spent, guard.patience(state.balance), told=state.stall_told):
            case guard.Stall.TELL:
                state.stall_told = True
                state.note(guard.STALL_NOTE)
            case guard.Stall.STOP:
                text = f"{dollars(spent)} were spent without a phase begun or a failing command mended."
                raise BuildFailed(Outcome.REPETITION, text)
            case guard.Stall.NONE:
                pass

    def _is_run_long(self) -> bool:
        state, info = self.state, workflow.info()
        if info.is_continue_as_new_suggested() or _events() >= RUN_EVENTS:
            return True
        return 0 < state.turns_per_run <= state.run_turns

    async def _continue_as_new(self) -> NoReturn:
        await self._workspace.saved()
        await workflow.wait_condition(workflow.all_handlers_finished)
        self.state.run_turns = 0
        workflow.continue_as_new(self.state, task_timeout=options.WORKFLOW_TASK)


def _events() -> int:
    return workflow.info().get_current_history_length()
