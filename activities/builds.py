"""The rows of a build: whether it may start, its number, its first message, and how it ended."""

import re
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, func, select, true, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity
from typing_extensions import override

from activities.admission import ROLE, Applicant, admit, refusal
from activities.briefs import Brief, load_brief
from activities.events import EventStream
from activities.failures import classified
from activities.forks import Fork, Forks
from activities.heartbeat import heartbeating
from activities.money_tables import ledger
from activities.progress import open_phases
from activities.prompt import first_message, prefix
from activities.purchases import Purchases
from activities.rows import dump
from activities.sandbox_time import SandboxTime
from activities.settings import Settings
from activities.tables import builds, phases, projects, restore_points
from activities.transcript import Transcript
from activities.users import User, load_user, resolve_llm_config
from workflows import ports
from workflows.catalogue import definitions
from workflows.errors import FailureType
from workflows.models import (
    BuildPlan,
    BuildRequest,
    ChooseModel,
    FinishBuild,
    PrepareBuild,
    PreparedBuild,
    StatusChange,
)

LONGEST_PROJECT = 100


class Builds(ports.Builds):
    """Keeps the builds in Postgres."""

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        transcript: Transcript,
        purchases: Purchases,
        events: EventStream,
        time: SandboxTime,
        settings: Settings,
        namespace_id: str = "",
    ) -> None:
        self._time = time
        self._engine = engine
        self._transcript = transcript
        self._forks = Forks(engine, transcript)
        self._purchases = purchases
        self._events = events
        self._settings = settings
        self._namespace_id = namespace_id

    @activity.defn
    @override
    async def prepare_build(self, request: PrepareBuild) -> PreparedBuild:
        """Check that the build may start; write its row, system prompt and first message."""
        async with heartbeating(), classified():
            build_id = request.build_id or str(activity.info().workflow_run_id)
            fork = await self._forks.find(build_id, request.request)
            async with self._engine.begin() as connection:
                if (known := await _find(connection, build_id)) is None:
                    user, at = await load_user(connection, request.request.user), activity.info().started_time
                    wanted = fork.request if fork else request.request
                    build = Applicant(run_id=build_id, user=user, request=wanted, at=at)
                    model = await admit(connection, build, settings=self._settings)
                    await self._write(connection, build_id, user, model, wanted, fork)
                elif known["finished_at"] is not None:
                    await _reopen(connection, known)
                known = await _find(connection, build_id)
                assert known is not None
                user = await load_user(connection, known["user_id"])
            begun = await self._forks.begun(known["head"]) if known["forked_from"] else ()
            prepared = _prepared(known, user, begun)
            return prepared.model_copy(update={"cadence": self._settings.snapshot_cadence})

    @activity.defn
    @override
    async def record_status(self, request: StatusChange) -> None:
        """Note a step in the build's row and tell the watchers; a finished build's row stays as it is."""
        values: dict[str, Any] = {"wake_at": request.wake_at, "changed_at": func.now()}
        if request.status:
            values["status"] = request.status.lower()
        async with heartbeating(), classified(), self._engine.begin() as connection:
            await connection.execute(
                update(builds)
                .where(builds.c.id == request.build_id, builds.c.finished_at.is_(None))
                .values(values)
            )
        await self._events.publish(
            request.build_id,
            request.event,
            status=request.status,
            text=request.text,
            wake_at=request.wake_at.isoformat() if request.wake_at else None,
        )

    @activity.defn
    @override
    async def finish_build(self, request: FinishBuild) -> int | None:
        """Close the build's row and its open reservations, tell the watchers; gives what it spent in all."""
        async with heartbeating(), classified():
            await self._purchases.lose_build(request.build_id)
            await self._time.settle(request.build_id)
            async with self._engine.begin() as connection:
                spent = await _close(connection, request)
        await self._tell_end(request)
        return spent

    async def close_open(self, request: FinishBuild) -> bool:
        """Close the row of a build whose run is gone, if it is open; for the janitor."""
        async with self._engine.begin() as connection:
            closed = await _close(connection, request, only=builds.c.finished_at.is_(None))
        if closed is not None:
            await self._tell_end(request)
        return closed is not None

    async def _tell_end(self, request: FinishBuild) -> None:
        shown = request.model_dump(mode="json", exclude={"build_id"})
        await self._events.publish(request.build_id, "build.stage.completed", **shown)

    @activity.defn
    @override
    async def choose_model(self, request: ChooseModel) -> str:
        """Give the model that a running build may go on with, and note it in its row."""
        async with heartbeating(), classified(), self._engine.begin() as connection:
            user, on = await load_user(connection, request.user), activity.info().started_time.date()
            model = resolve_llm_config(user, ROLE, settings=self._settings, on=on, wanted=request.model)
            await connection.execute(update(builds).filter_by(id=request.build_id).values(model=model))
            return model

    async def _write(
        self,
        connection: AsyncConnection,
        build_id: str,
        user: User,
        model: str,
        request: BuildRequest,
        fork: Fork | None,
    ) -> None:
        workflow_id = str(activity.info().workflow_id)
        project = request.project or _project_name(workflow_id)
        await _claim_project(connection, project, user)
        begin = fork and await self._forks.begin(connection, fork, build_id)
        row = insert(builds).values(
            id=build_id,
            workflow_id=workflow_id,
            project=project,
            user_id=user.id,
            number=await _next_number(connection, project),
            model=model,
            namespace_id=self._namespace_id,
            spend_limit=request.budget_microdollars or None,
            started_at=activity.info().started_time,
            **(begin or await self._begin(connection, build_id, project, request)),
        )
        await connection.execute(row.on_conflict_do_nothing(index_elements=["id"]))

    async def _begin(
        self, connection: AsyncConnection, build_id: str, project: str, request: BuildRequest
    ) -> dict[str, Any]:
        """Write the brief and open a transcript; gives the columns that say where the build begins."""
        brief = await load_brief(connection, project, request)
        restore_point = await _newest_restore_point(connection, project)
        head = await self._open_transcript(connection, build_id, brief, is_further=restore_point is not None)
        return {"plan": brief.plan.model_dump(mode="json"), "head": head, "restore_point": restore_point}

    async def _open_transcript(
        self, connection: AsyncConnection, build_id: str, brief: Brief, *, is_further: bool
    ) -> int:
        root = await self._transcript.append(
            connection, build_id=build_id, parent_id=None, role="system", body=dump(prefix(definitions()))
        )
        first = first_message(brief.idea_brief, brief.answers, brief.plan, is_further=is_further)
        return await self._transcript.append(
            connection, build_id=build_id, parent_id=root, role="user", body=dump(first)
        )


async def _find(connection: AsyncConnection, build_id: str) -> RowMapping | None:
    return (await connection.execute(select(builds).filter_by(id=build_id))).mappings().one_or_none()


async def _claim_project(connection: AsyncConnection, project: str, user: User) -> None:
    """Lock the project's row, making it the user's if it is new: numbers are given to one build at a time."""
    await connection.execute(insert(projects).values(id=project, user_id=user.id).on_conflict_do_nothing())
    owner = await connection.execute(select(projects.c.user_id).filter_by(id=project).with_for_update())
    if owner.scalar_one() != user.id:
        raise refusal(
            FailureType.INVALID_BUILD_REQUEST,
            f"project: {project!r} is not a project of user {user.id!r}. Choose another project id.",
        )


async def _next_number(connection: AsyncConnection, project: str) -> int:
    """Count on from the builds that are ready or under way; a failed one gives its number back."""
    newest = select(func.coalesce(func.max(builds.c.number), 0)).where(
        builds.c.project == project, builds.c.status != "failed"
    )
    return (await connection.execute(newest)).scalar_one() + 1


async def _newest_restore_point(connection: AsyncConnection, project: str) -> int | None:
    newest = select(func.max(restore_points.c.id)).filter_by(project=project, left_behind=False)
    return (await connection.execute(newest)).scalar_one()


async def _reopen(connection: AsyncConnection, build: RowMapping) -> None:
    """Take up a build again whose ended run was reset to its beginning; its number may be another's now."""
    await connection.execute(select(projects).filter_by(id=build["project"]).with_for_update())
    others = select(builds.c.id).where(
        builds.c.project == build["project"],
        builds.c.number == build["number"],
        builds.c.status != "failed",
        builds.c.id != build["id"],
    )
    is_taken = (await connection.execute(others)).first() is not None
    number = await _next_number(connection, build["project"]) if is_taken else build["number"]
    values = {"status": "starting", "number": number, "outcome": "", "message": "", "finished_at": None}
    await connection.execute(update(builds).where(builds.c.id == build["id"]).values(values))


async def _close(
    connection: AsyncConnection, request: FinishBuild, *, only: ColumnElement[bool] | None = None
) -> int | None:
    """Close a build's row, if it is such a one; gives what the build spent in all, else none."""
    values = request.model_dump(
        include={"status", "outcome", "message", "debug_id", "sandbox_id", "preview_url", "workspace"}
    )
    if request.restore_point is not None:
        values["restore_point"] = request.restore_point
    spent = select(func.coalesce(func.sum(ledger.c.cost), 0)).filter_by(build_id=request.build_id)
    closed = await connection.execute(
        update(builds)
        .where(builds.c.id == request.build_id, true() if only is None else only)
        .values(
            **values,
            spent=spent.scalar_subquery(),
            wake_at=None,
            changed_at=func.now(),
            finished_at=func.coalesce(builds.c.finished_at, func.now()),
        )
        .returning(builds.c.spent)
    )
    if request.status == "ready":
        await connection.execute(
            update(phases)
            .where(phases.c.build_id == request.build_id, phases.c.completed_at.is_(None))
            .values(completed_at=func.now())
        )
    return closed.scalar_one_or_none()


def _prepared(row: RowMapping, user: User, begun: tuple[str, ...]) -> PreparedBuild:
    plan = BuildPlan.model_validate(row["plan"])
    return PreparedBuild(
        build_id=row["id"],
        project=row["project"],
        user=row["user_id"],
        number=row["number"],
        model=row["model"],
        head=row["head"],
        timezone=user.timezone,
        tool_calls_limit=user.tool_calls,
        weight=user.weight,
        restore_point=row["restore_point"],
        checks=plan.checks,
        start=plan.start,
        phases=open_phases(plan, begun),
        turn=row["first_turn"],
        phase=begun[-1] if begun else "",
        inherited=row["inherited"],
        budget=row["spend_limit"] or 0,
    )


def _project_name(workflow_id: str) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", workflow_id)[:LONGEST_PROJECT]
    return name.strip("-._") or "project"
