"""What people see of a build: details in the Web UI, search attributes, its row, the event stream."""

from typing import Any

from temporalio import workflow
from temporalio.common import SearchAttributeKey, SearchAttributeUpdate

from workflows import options
from workflows.models import StatusChange
from workflows.ports import Builds
from workflows.state import BuildState, Status
from workflows.texts import dollars, spent_of

STATUS = SearchAttributeKey.for_keyword("BuildStatus")
PROJECT = SearchAttributeKey.for_keyword("BuildProject")
USER = SearchAttributeKey.for_keyword("BuildUser")
SPENT_CENTS = SearchAttributeKey.for_int("BuildSpentCents")
WAKE_AT = SearchAttributeKey.for_datetime("BuildWakeAt")

MICRODOLLARS_A_CENT = 10_000

ABOUT = {
    Status.SCAFFOLD: "setting up a sandbox",
    Status.CODE: "writing the software",
    Status.DEPS: "installing into a fresh sandbox",
    Status.CHECKS: "running the checks, starting the app",
}
"""What a stage does, where there is nothing better to say of it."""


class Journal:
    """Writes each step where people look for it."""

    def __init__(self, state: BuildState) -> None:
        self._state = state

    async def enter(self, status: Status, text: str = "") -> None:
        """Move to a stage and tell it."""
        self._state.move(status)
        await self.tell("build.stage.started", text or ABOUT.get(status, ""))

    async def tell(self, event: str, text: str) -> None:
        """Show a step in the Web UI, the build's row and the event stream."""
        state = self._state
        self.note(text)
        self._index()
        await workflow.execute_activity_method(
            Builds.record_status,
            StatusChange(
                build_id=state.build_id, event=event, status=state.shown, text=text, wake_at=state.wake_at
            ),
            summary=f"{state.shown}: {text}"[:200],
            **options.RECORD_STATUS,
        )

    def note(self, text: str) -> None:
        """Add a line to the timeline and show the build as it is."""
        self._state.log(workflow.now(), f"{self._state.shown}: {text}")
        self.show()

    def show(self) -> None:
        """Show the build as it is in the Web UI."""
        workflow.set_current_details(details(self._state))

    def _index(self) -> None:
        """Update what `temporal workflow list` filters by; one batch, as each upsert is a billed action."""
        state = self._state
        found: list[SearchAttributeUpdate[Any]] = [
            STATUS.value_set(state.shown),
            PROJECT.value_set(state.project),
            USER.value_set(state.user),
            SPENT_CENTS.value_set(state.spent // MICRODOLLARS_A_CENT),
        ]
        # Never unset: continue-as-new carries an unset value as [null], which the SDK cannot decode,
        # and the next run would hang. The last wake stays; BuildStatus tells whether it is due.
        if state.wake_at:
            found.append(WAKE_AT.value_set(state.wake_at))
        workflow.upsert_search_attributes(found)  # pyright: ignore[reportUnknownMemberType] SDK signature


def details(state: BuildState) -> str:
    """The build as Markdown, for the Web UI and `temporal workflow metadata`."""
    lines = [f"**{state.shown}**" + (f": {state.phase}" if state.phase else "")]
    if state.message:
        lines.append(state.message)
    if state.trouble:
        lines.append(f"trouble: {state.trouble}")
    if state.refused:
        lines.append(f"refused: {state.refused}")
    lines.append(f"{state.turns} turns, {state.tool_calls} of {state.max_tool_calls} tool calls")
    lines += _money(state)
    if state.rewind:
        lines.append(f"goes back to turn {state.rewind.turn}")
    if state.wake_at:
        lines.append(f"wakes at {state.wake_at:%Y-%m-%d %H:%M} UTC, or by the signal `wake`")
    if state.snapshot_key:
        lines.append(f"last snapshot `{state.snapshot_key}`")
    return "\n\n".join(lines)


def _money(state: BuildState) -> list[str]:
    lines: list[str] = []
    if (balance := state.balance) is not None:
        lines.append(
            f"spent {spent_of(state.spent, balance.build_sandbox)}; today {dollars(balance.left)} left "
            f"of {dollars(balance.allowance)}"
        )
    if state.budget:
        lines.append(f"may spend {dollars(state.budget)} in all")
    if state.inherited:
        lines.append(f"goes on from a conversation that had cost others {dollars(state.inherited)}")
    return lines
