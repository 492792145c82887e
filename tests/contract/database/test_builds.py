"""A build starts once, for somebody who may, with everything the founder said."""

import asyncio
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select
from temporalio.exceptions import ApplicationError

from activities.accounts import Accounts
from activities.tables import artifacts, builds, restore_points, understanding_sessions
from workflows.errors import FailureType
from workflows.models import Answer, BuildPlan, FinishBuild, PreparedBuild, StatusChange

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def project() -> str:
    return f"project-{uuid.uuid4().hex[:12]}"


async def first_words(desk: Any, build: PreparedBuild) -> str:
    path = await desk.transcript.path(build.head)
    return json.loads(path[-1].body)[0]["text"]


async def row_of(desk: Any, build: PreparedBuild) -> Any:
    async with desk.engine.connect() as connection:
        return (await connection.execute(select(builds).filter_by(id=build.build_id))).one()


async def finish(desk: Any, build: PreparedBuild, status: str, **more: Any) -> None:
    request = FinishBuild(build_id=build.build_id, status=status, outcome="completed", **more)
    await desk.run(desk.builds.finish_build, request)


async def test_idea_alone_starts_a_build(desk):
    """From one sentence: a project named after the workflow, the settings' model, a first message."""
    build = await desk.prepare(run_id="r1" + uuid.uuid4().hex)
    path = await desk.transcript.path(build.head)

    assert build.project == f"build-{build.build_id}"
    assert (build.number, build.model, build.timezone) == (1, "claude-sonnet-5-5", "UTC")
    assert [row.role for row in path] == ["system", "user"]
    assert [tool["name"] for tool in json.loads(path[0].body)["tools"]][:2] == ["read_file", "write_file"]
    assert "A page that says hello." in await first_words(desk, build)


async def test_retry_finds_its_build(desk, make_desk):
    """Attempts of one run, in turn or at once, give the same build, even when it could not start again."""
    run_id = str(uuid.uuid4())
    made = await asyncio.gather(
        *(each.prepare(run_id=run_id, user=desk.user) for each in (desk, make_desk(), make_desk()))
    )
    await desk.set_user(suspended=True)

    assert made[0] == made[1] == made[2] == await desk.prepare(run_id=run_id)


async def test_builds_of_a_project_never_share_a_number(desk):
    """Builds at once get numbers of their own; a failed one gives its number back, a ready one keeps it."""
    name = project()
    made = await asyncio.gather(*(desk.prepare(project=name) for _ in range(5)))
    by_number = sorted(made, key=lambda build: build.number)
    await finish(desk, by_number[0], "ready")
    await finish(desk, by_number[4], "failed")

    assert [build.number for build in by_number] == [1, 2, 3, 4, 5]
    assert (await desk.prepare(project=name)).number == 5


async def test_stored_brief_and_newest_interview_are_used(desk):
    """A known project needs nothing else; unanswered questions are dropped."""
    name = project()
    questions = [{"id": "a", "text": "Who?"}, {"id": "b", "text": "Why?"}, {"id": "c", "text": "When?"}]
    async with desk.engine.begin() as connection:
        await connection.execute(
            insert(artifacts).values(
                project=name, type="idea_brief", content={"problem_statement": "Lost keys"}
            )
        )
        for answers in ({"a": "Old"}, {"a": "Students", "b": "  ", "c": "Soon"}):
            await connection.execute(
                insert(understanding_sessions).values(project=name, questions=questions, answers=answers)
            )
    said = await first_words(desk, await desk.prepare(project=name, idea=""))

    assert "Lost keys" in said
    assert "Q: Who?\nA: Students\n\nQ: When?\nA: Soon" in said
    assert "Why?" not in said


async def test_request_is_stored_for_the_next_build(desk):
    """What a request carries is the project's from then on."""
    name = project()
    plan = BuildPlan(goal="Ship", checks=("make test",), start="make run")
    given = {
        "idea": "",
        "idea_brief": {"value_prop": "Faster"},
        "answers": [Answer(question="Who?", answer="Me")],
        "build_plan": plan,
    }
    first = await desk.prepare(project=name, **given)
    second = await desk.prepare(project=name, idea="")
    third = await desk.prepare(project=name, idea="And a dark theme.")

    assert (first.checks, first.start) == (("make test",), "make run")
    assert (second.checks, second.start) == (first.checks, first.start)
    assert await first_words(desk, second) == await first_words(desk, first)
    assert "And a dark theme." in await first_words(desk, third)
    assert "Faster" in await first_words(desk, third)


async def test_further_build_begins_from_the_newest_files(desk):
    """A project with a restore point is built on, and the model is told so."""
    name = project()
    first = await desk.prepare(project=name)
    values = {"build_id": first.build_id, "project": name, "generation": 1, "kind": "full", "reason": "end"}
    async with desk.engine.begin() as connection:
        ids = [
            await connection.scalar(
                insert(restore_points)
                .values(**values, number=number, key=f"{name}/{number}", turn=1)
                .returning(restore_points.c.id)
            )
            for number in (1, 2)
        ]
    second = await desk.prepare(project=name)

    assert first.restore_point is None
    assert second.restore_point == ids[1]
    assert "what we built before" in await first_words(desk, second)


@pytest.mark.parametrize(
    ("given", "kind", "named"),
    [
        ({"idea": ""}, FailureType.INVALID_BUILD_REQUEST, "idea_brief"),
        ({"idea": "", "project": "unheard-of"}, FailureType.INVALID_BUILD_REQUEST, "unheard-of"),
        ({"model": "claude-unheard-of"}, FailureType.UNKNOWN_MODEL, "claude-sonnet-5-5"),
        ({"model": "claude-opus-5-5"}, FailureType.UNKNOWN_MODEL, "bootstrapper"),
    ],
)
async def test_wrong_request_names_its_field(desk, given: dict[str, str], kind: str, named: str):
    """A request that cannot be carried out fails at once, says which field and what would do."""
    with pytest.raises(ApplicationError, match=named) as caught:
        await desk.prepare(**given)

    assert (caught.value.type, caught.value.non_retryable) == (kind, True)


@pytest.mark.parametrize(
    ("user", "kind"),
    [
        ({"suspended": True}, FailureType.USER_SUSPENDED),
        ({"cycle_budget": 0}, FailureType.NO_ALLOWANCE),
    ],
)
async def test_user_who_may_not_build(desk, user: dict[str, Any], kind: str):
    """A suspended user and one with nothing to spend are refused, and leave no rows."""
    await desk.give(**user)
    run_id = str(uuid.uuid4())
    with pytest.raises(ApplicationError) as caught:
        await desk.prepare(run_id=run_id)
    async with desk.engine.connect() as connection:
        rows = (await connection.execute(select(builds).filter_by(id=run_id))).all()

    assert (caught.value.type, caught.value.non_retryable) == (kind, True)
    assert rows == []


async def test_kill_switch_refuses_new_builds(desk, make_desk):
    """Off by setting or by row: no build starts."""
    with pytest.raises(ApplicationError) as by_setting:
        await make_desk(autonomous_agent=False).prepare()
    await Accounts(desk.engine).switch(on=False)
    try:
        with pytest.raises(ApplicationError) as by_row:
            await desk.prepare()
    finally:
        await Accounts(desk.engine).switch(on=True)

    assert by_setting.value.type == by_row.value.type == FailureType.AGENT_DISABLED


async def test_project_belongs_to_its_first_user(desk, make_desk):
    """Nobody builds on, or reads, somebody else's project."""
    name = project()
    await desk.prepare(project=name)
    with pytest.raises(ApplicationError, match=name) as caught:
        await make_desk().prepare(project=name)

    assert caught.value.type == FailureType.INVALID_BUILD_REQUEST


@pytest.mark.parametrize(
    ("user", "wanted", "expected"),
    [
        ({}, "", "claude-sonnet-5-5"),
        ({}, "claude-haiku-5-5", "claude-haiku-5-5"),
        ({"tier": "cto_scale"}, "", "claude-opus-5-5"),
        ({"tier": "cto_scale"}, "claude-fable-5-2", "claude-fable-5-2"),
        ({"override_models": {"coder": "claude-fable-5-2"}}, "", "claude-fable-5-2"),
        ({"override_models": {"coder": "claude-opus-5"}, "tier": "cto_scale"}, "", "claude-opus-5"),
    ],
)
async def test_model_is_resolved_in_order(desk, user: dict[str, Any], wanted: str, expected: str):
    """The request, then an admin's override, the plan, the settings; within what the plan allows."""
    await desk.give(**({"tier": "bootstrapper"} | user))

    assert (await desk.prepare(model=wanted)).model == expected


RETIRED = {"override_models": {"coder": "claude-sonnet-4-5"}, "tier": "cto_scale"}


@pytest.mark.parametrize(
    ("user", "wanted", "day", "listed"),
    [
        ({}, "claude-opus-5-5", NOON, ["claude-haiku-4-5", "claude-sonnet-5-5"]),
        ({}, "claude-2", NOON, ["claude-haiku-4-5", "claude-sonnet-5-5"]),
        ({"tier": "cto_scale"}, "gpt-9", NOON, ["claude-fable-5-2", "claude-sonnet-4-5"]),
        (RETIRED, "", NOON + timedelta(days=7), ["claude-fable-5-2", "claude-sonnet-4-6"]),
    ],
)
async def test_a_model_that_cannot_be_had_is_refused_with_the_list(desk, user, wanted, day, listed):
    """Not in the plan, unknown, retired, or retired since an admin chose it: the list names the others."""
    await desk.give(**({"tier": "bootstrapper"} | user))
    with pytest.raises(ApplicationError, match="Choose one of: ") as caught:
        await desk.prepare(model=wanted, at=day)
    told = caught.value.message.split("Choose one of: ")[1].rstrip(".").split(", ")

    assert FailureType.UNKNOWN_MODEL == caught.value.type
    assert set(listed) <= set(told)
    assert wanted not in told


async def test_status_is_noted_and_told(desk):
    """A step is in the row and on the stream; a finished build's row stays as it ended."""
    build = await desk.prepare()
    change = StatusChange(build_id=build.build_id, event="build.stage.started", status="CODE", text="Coding.")
    await desk.run(desk.builds.record_status, change)
    shown = (await row_of(desk, build)).status
    await finish(desk, build, "failed", message="No.", debug_id="d1")
    await desk.run(desk.builds.record_status, change)
    row = await row_of(desk, build)
    told = [(event.type, event.fields.get("text")) for event in await desk.events.read(build.build_id)]

    assert shown == "code"
    assert (row.status, row.message, row.debug_id) == ("failed", "No.", "d1")
    assert told[0] == ("build.stage.started", "Coding.")
    assert told[1][0] == "build.stage.completed"


async def test_finish_adds_up_and_frees_the_money(desk):
    """A finished build's row says what was spent; nothing of it stays reserved."""
    build = await desk.prepare()
    reply = await desk.call(build)
    await finish(desk, build, "ready", preview_url="http://x", restore_point=7)
    await finish(desk, build, "ready", preview_url="http://x", restore_point=7)
    row = await row_of(desk, build)

    assert (row.status, row.spent, row.preview_url, row.restore_point) == ("ready", reply.cost, "http://x", 7)
    assert row.finished_at is not None
