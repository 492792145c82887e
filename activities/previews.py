"""The apps of finished builds, served again: finds the sandbox that was kept, resumes it, starts the app."""

from sqlalchemy import RowMapping, and_, select
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity
from temporalio.exceptions import ApplicationError
from typing_extensions import override

from activities.checks import Checks
from activities.failures import classified
from activities.heartbeat import heartbeating
from activities.sandbox import Sandboxes
from activities.sandbox_rows import SandboxRow, SandboxRows
from activities.tables import builds
from activities.workspace import Workspace
from workflows import ports
from workflows.errors import FailureType
from workflows.files import ProofReport, ProofStep, SandboxRef, ServePreview
from workflows.models import BuildPlan

GONE = "Its sandbox is gone; a further build of the project restores its files."


class Previews(ports.Previews):
    """Previews over the sandboxes that READY builds left behind."""

    def __init__(
        self,
        engine: AsyncEngine,
        workspace: Workspace,
        rows: SandboxRows,
        *,
        checks: Checks,
        sandboxes: Sandboxes,
    ) -> None:
        self._sandboxes = sandboxes
        self._engine = engine
        self._workspace = workspace
        self._rows = rows
        self._checks = checks

    @activity.defn
    @override
    async def serve_preview(self, request: ServePreview) -> ProofReport:
        """Resume the sandbox of a build's newest READY version and start its app again.

        A sandbox that is gone is told in the report; its files still stand in the last snapshot.
        """
        async with heartbeating(), classified():
            build = await self._find(request.workflow_id)
            if build is None:
                return _cannot(f"{request.workflow_id} has no READY build.")
            row = await self._rows.find(build["id"], build["sandbox_id"])
            if row is None or not row.holds(build["sandbox_id"]):
                return _cannot(GONE)
            try:
                return await self._serve(build, row)
            except ApplicationError as error:
                if error.type != FailureType.SANDBOX_LOST:
                    raise
                await self._sandboxes.end_unless_running(row, ran=True)
                return _cannot(GONE)

    async def _find(self, workflow_id: str) -> RowMapping | None:
        newest = (
            select(builds)
            .where(and_(builds.c.workflow_id == workflow_id, builds.c.status == "ready"))
            .order_by(builds.c.number.desc())
            .limit(1)
        )
        async with self._engine.connect() as connection:
            return (await connection.execute(newest)).mappings().first()

    async def _serve(self, build: RowMapping, row: SandboxRow) -> ProofReport:
        running = await self._workspace.client.is_running(row.sandbox_id)
        if await self._sandboxes.resume(row, running=running) != row.sandbox_id:
            return _cannot(GONE)
        # The app may still run, and would hold its port against the one that is started now.
        await self._workspace.ask(row.reference, "stop_processes", {})
        return await self._checks.start_preview(_step(build, row.reference))


def _step(build: RowMapping, sandbox: SandboxRef) -> ProofStep:
    # The runner starts a claimed command once ever, so each serving has a number of its own.
    number = int(activity.info().scheduled_time.timestamp())
    start = BuildPlan.model_validate(build["plan"]).start
    return ProofStep(build_id=build["id"], sandbox=sandbox, attempt=number, start=start)


def _cannot(why: str) -> ProofReport:
    return ProofReport(passed=False, summary=why, report=why)
