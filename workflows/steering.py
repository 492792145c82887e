"""How people reach a running build: signals, updates, queries.

Handlers only note what was asked in the state; the loop in `build.py` acts on it. Signals take whatever
they are sent: one with a missing or an extra argument would otherwise hang the run for ever.
"""

from collections.abc import Sequence

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from workflows.models import BuildStatus, ReceiptSoFar, SetLimit, TimelineEntry
from workflows.state import FOUNDER, BuildState
from workflows.texts import clean

MAX_STEER_CHARS = 10_000
"""The longest text that one `steer` hands to the model."""
MAX_UNHEARD_CHARS = 50_000
"""What may wait for the model at most; a sleeping build hears nothing and must stay small."""
MAX_REASON_CHARS = 500
"""The longest reason for an end that is kept."""


def said(given: Sequence[object], limit: int) -> str:
    """The first text among what a signal was sent, storable and not longer than the limit."""
    first = next((one for one in given if isinstance(one, str)), "")
    return str(clean(first))[:limit].strip()


class Steering:
    """The handlers of a build; `state` is set before any of them runs."""

    state: BuildState

    @workflow.signal(description="Wake a sleeping or waiting build and look at the money again.")
    def wake(self, *_given: object) -> None:
        """Count a wake; one sent before the build sleeps is not lost."""
        self.state.wakes += 1

    @workflow.signal(
        description="Pause now: cut the running step short, save, pause the sandbox, wait for `resume`."
    )
    def pause(self, *_given: object) -> None:
        """Ask for a pause."""
        self.state.paused = True
        self.state.wakes += 1
        self.state.interrupts += 1

    @workflow.signal(description="Go on after `pause`, or after mending what the build asked for.")
    def resume(self, *_given: object) -> None:
        """End a pause, or a wait for a person."""
        self.state.paused = False
        self.state.wakes += 1

    @workflow.signal(description="Say something to the agent: it stops what it is doing and reads it.")
    def steer(self, *given: object) -> None:
        """Pass a text to the model at once; it does not wake a sleeping build."""
        text = said(given, MAX_STEER_CHARS)
        if not text or self.state.unheard + len(text) > MAX_UNHEARD_CHARS:
            why = "too much is unread" if text else "it is no text"
            self.state.log(workflow.now(), f"a `steer` was not taken: {why}")
            return
        self.state.note(f"{FOUNDER} {text}")
        self.state.interrupts += 1

    @workflow.signal(description="End the build now; its files are saved.")
    def stop(self, *given: object) -> None:
        """Ask for the end."""
        self.state.stop_reason = said(given, MAX_REASON_CHARS) or "someone asked to stop"
        self.state.wakes += 1
        self.state.interrupts += 1

    @workflow.update(description='Raise the limit of tool calls, e.g. {"max_tool_calls": 300}.')
    def set_limit(self, limit: SetLimit | None = None) -> BuildStatus:
        """Change the limit of tool calls and give the new status."""
        assert limit is not None
        self.state.limit_calls(limit.max_tool_calls)
        self.state.wakes += 1
        return self.status()

    @set_limit.validator
    def _check_limit(self, limit: SetLimit | None = None) -> None:
        used = self.state.tool_calls
        if limit is None:
            raise ApplicationError('Give {"max_tool_calls": N}.', type="InvalidLimit")
        most = self.state.most_tool_calls
        if limit.max_tool_calls > most:
            raise ApplicationError(
                f"max_tool_calls: {limit.max_tool_calls} is above {most}, the highest limit. "
                f"Give at most {most}.",
                type="InvalidLimit",
            )
        if limit.max_tool_calls <= used:
            raise ApplicationError(
                f"max_tool_calls: {limit.max_tool_calls} is not above the {used} calls already made. "
                f"Give a number above {used}.",
                type="InvalidLimit",
            )

    @workflow.query(description="Where the build stands: stage, money, next wake, sandbox.")
    def status(self) -> BuildStatus:
        """The build in one value."""
        state, balance = self.state, self.state.balance
        return BuildStatus(
            status=state.shown,
            stage=state.status,
            phase=state.phase,
            build_version=state.version,
            turns=state.turns,
            tool_calls=state.tool_calls,
            max_tool_calls=state.max_tool_calls,
            spent_microdollars=state.spent,
            sandbox_microdollars=balance.build_sandbox if balance else 0,
            allowance_microdollars=balance.allowance if balance else 0,
            left_microdollars=balance.left if balance else 0,
            wake_at=state.wake_at,
            sandbox_id=state.sandbox.sandbox_id if state.sandbox else "",
            restore_point=state.restore_point,
            outcome=state.outcome,
            message=state.message,
            model=state.model,
            budget_microdollars=state.budget,
            inherited_microdollars=state.inherited,
            trouble=state.trouble,
        )

    @workflow.query(description="What the build has spent, by phase; the whole is `starter receipt ID`.")
    def receipt(self) -> ReceiptSoFar:
        """What the state knows of the money, without a look at the ledger."""
        balance = self.state.balance
        return ReceiptSoFar(
            spent_microdollars=self.state.spent,
            by_phase=self.state.spent_by_phase,
            sandbox_microdollars=balance.build_sandbox if balance else 0,
            day=balance.day if balance else None,
            day_allowance_microdollars=balance.allowance if balance else 0,
            day_left_microdollars=balance.left if balance else 0,
            inherited_microdollars=self.state.inherited,
        )

    @workflow.query(description="The last steps of the build, oldest first.")
    def timeline(self) -> list[TimelineEntry]:
        """What happened lately."""
        return list(self.state.timeline)
