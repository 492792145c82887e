"""How a founder takes a build back to a restore point: an update that notes it, and the step that does it.

Files and conversation go back together; money and tool calls count on. It is done before the next call of the
model, as soon as what runs was cut short; a paused build does it when it goes on.
"""

import asyncio

from pydantic import ValidationError
from temporalio import workflow
from temporalio.exceptions import ActivityError

from workflows import options
from workflows.branches import FindRestorePoint, Rewind, RewindBuild, RewindPoint, Rewound
from workflows.catalogue import describe_errors
from workflows.changing import Changing
from workflows.errors import FailureType
from workflows.journal import Journal
from workflows.models import BuildStatus
from workflows.ports import Rewinds
from workflows.state import BuildState, Status
from workflows.workspace import Workspace

HEEDS_LIMIT = "no rewind at the limit of tool calls"
"""Marks updates that are refused there; those before were accepted, and the build ended on its limit."""
SHAPE = 'Give {"turn": N}'


class Rewinding(Changing):
    """The update of a build that goes back."""

    is_ending: bool
    """The build has come to its end, which nothing takes back."""
    finding: asyncio.Lock
    """What the database holds for a build is what its state names: one at a time."""

    @workflow.update(
        description="Go back to a kept restore point, files and conversation together, "
        'e.g. {"turn": 12}; one that is not kept is answered with those that are.'
    )
    async def rewind(self, point: object = None) -> BuildStatus:
        """Note that the build goes back, and cut short what runs; gives the status, still from before."""
        update = workflow.current_update_info()
        assert update is not None
        async with self.finding:
            if update.id != self.state.rewound_by:
                self._note(await self._find(point), update.id)
        return self.status()

    async def _find(self, point: object) -> Rewind:
        wanted = self._wanted(point)
        try:
            found = await workflow.execute_activity_method(
                Rewinds.find_restore_point,
                FindRestorePoint(build_id=self.state.build_id, turn=wanted.turn),
                summary=f"find the restore point of turn {wanted.turn}",
                **options.FIND_RESTORE_POINT,
            )
        except ActivityError as error:
            raise self._refused_by(error) from None
        self._refuse_end()
        self._refuse_limit()
        return found

    def _wanted(self, point: object) -> RewindPoint:
        if self.state.status in (Status.STARTING, Status.SCAFFOLD):
            raise self._refused(
                FailureType.INVALID_BUILD_REQUEST, "turn: the build has not begun. Try again in a moment."
            )
        self._refuse_end()
        self._refuse_limit()
        try:
            return RewindPoint.model_validate(point)
        except ValidationError as error:
            why = f"{describe_errors(error)}. {SHAPE}."
            raise self._refused(FailureType.INVALID_BUILD_REQUEST, why) from None

    def _refuse_end(self) -> None:
        if self.is_ending:
            why = "The build has come to its end. Fork it instead: `python -m starter fork ID --turn N`."
            raise self._refused(FailureType.INVALID_BUILD_REQUEST, why)

    def _refuse_limit(self) -> None:
        state = self.state
        if state.tool_calls + state.acting < state.max_tool_calls or not workflow.patched(HEEDS_LIMIT):
            return
        why = (
            f"turn: all {state.max_tool_calls} tool calls are used or under way, and going back gives none "
            'back. Raise the limit first, by the update `set_limit` ({"max_tool_calls": N}), or fork it.'
        )
        raise self._refused(FailureType.INVALID_BUILD_REQUEST, why)

    def _note(self, found: Rewind, update_id: str) -> None:
        state = self.state
        state.rewind = found.model_copy(update={"at": workflow.now()})
        state.rewound_by = update_id
        state.wakes += 1
        state.interrupts += 1
        self._accepted(f"goes back to turn {found.turn}")


class GoingBack:
    """Takes a build back, once it was asked to."""

    def __init__(self, state: BuildState, journal: Journal, workspace: Workspace) -> None:
        self._state = state
        self._journal = journal
        self._workspace = workspace

    async def go(self) -> None:
        """Go back if someone asked to: first the files as they are are saved, as one may want them again."""
        state = self._state
        while (rewind := state.rewind) is not None:
            await self._workspace.go_back(rewind)
            found: Rewound = await workflow.execute_activity_method(
                Rewinds.rewind_build,
                RewindBuild(build_id=state.build_id, rewind=rewind),
                summary=f"the conversation goes back to turn {rewind.turn}",
                **options.REWIND_BUILD,
            )
            if state.rewind == rewind:
                state.go_back(rewind, found)
            await self._journal.tell("build.rewound", f"back at turn {rewind.turn}")
