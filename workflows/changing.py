"""How people change a running build where the database has a say: its user's money, its model.

Each is an update whose activity decides. Why one was refused stands in the details too: a validator could not
write there, and the CLI prints little.
"""

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from workflows import budget, options
from workflows.journal import details
from workflows.models import BuildStatus, ChooseModel
from workflows.ports import Builds, Ledger
from workflows.state import Status
from workflows.steering import Steering
from workflows.texts import dollars
from workflows.turns import AddMoney, Balance, WakeBuilds

MODEL_WAKES = "set_model wakes"
"""Marks runs that look again at once when their model was changed; in those before, they slept on."""
LONGEST_MODEL = 200
"""Characters of a model's id that are looked at."""


class Changing(Steering):
    """The updates of a build that take an activity."""

    @workflow.update(
        description="Add money to the day of the user, e.g. 5000000 for $5, and wake their builds."
    )
    async def add_budget(self, microdollars: object = None) -> BuildStatus:
        """Add money and go on; gives the new status."""
        if (why := budget.wrong_amount(microdollars)) or not isinstance(microdollars, int):
            raise self._refused("InvalidAmount", why)
        state = self.state
        user = state.user or state.request.user
        state.see(await self._add_money(user, microdollars))
        state.wakes += 1
        self._accepted(f"{dollars(microdollars)} were added to today")
        await workflow.execute_activity_method(
            Ledger.wake_builds,
            WakeBuilds(user=user, but=workflow.info().workflow_id),
            summary=f"wake the other builds of {user}"[:200],
            **options.WAKE_BUILDS,
        )
        return self.status()

    @workflow.update(description='Go on with another model, e.g. "claude-haiku-5-5"; "" is the plan\'s own.')
    async def set_model(self, model: object = None) -> BuildStatus:
        """Change the model from the next call on; gives the new status."""
        if not isinstance(model, str):
            raise self._refused("InvalidModel", "model: give the id of a model as a text.")
        if self.state.status is Status.STARTING:
            raise self._refused("InvalidModel", "model: the build has not begun. Try again in a moment.")
        self.state.model = await self._choose(model[:LONGEST_MODEL])
        if workflow.patched(MODEL_WAKES):
            self.state.wakes += 1
        self._accepted(f"the model is {self.state.model} from the next call on")
        return self.status()

    async def _add_money(self, user: str, microdollars: int) -> Balance:
        update = workflow.current_update_info()
        assert update is not None
        try:
            return await workflow.execute_activity_method(
                Ledger.add_money,
                AddMoney(
                    build_id=self.state.build_id,
                    user=user,
                    microdollars=microdollars,
                    key=f"{workflow.info().first_execution_run_id}/{update.id}",
                ),
                summary=f"add {dollars(microdollars)}",
                **options.ADD_MONEY,
            )
        except ActivityError as error:
            raise self._refused_by(error) from None

    async def _choose(self, model: str) -> str:
        state = self.state
        try:
            return await workflow.execute_activity_method(
                Builds.choose_model,
                ChooseModel(build_id=state.build_id, user=state.user, model=model),
                summary=f"may it be {model or 'that of the plan'}",
                **options.CHOOSE_MODEL,
            )
        except ActivityError as error:
            raise self._refused_by(error) from None

    def _accepted(self, text: str) -> None:
        self.state.refused = ""
        self.state.log(workflow.now(), text)
        workflow.set_current_details(details(self.state))

    def _refused_by(self, error: ActivityError) -> ApplicationError:
        cause = error.cause
        if isinstance(cause, ApplicationError):
            return self._refused(cause.type or "Refused", cause.message)
        return self._refused("Refused", str(cause or error))

    def _refused(self, kind: str, why: str) -> ApplicationError:
        self.state.refused = why
        self.state.log(workflow.now(), f"an update was refused: {why}")
        workflow.set_current_details(details(self.state))
        return ApplicationError(why, type=kind, non_retryable=True)
