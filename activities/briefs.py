"""What a founder handed over for a project: the idea brief, the interview, the plan; stored and loaded.

What a request carries wins and is stored; the rest comes from the project. Knows no build.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue, ValidationError
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio.exceptions import ApplicationError

from activities.tables import artifacts, understanding_sessions
from workflows.errors import FailureType
from workflows.models import Answer, BuildPlan, BuildRequest

IDEA_BRIEF = "idea_brief"
BUILD_PLAN = "build_plan"


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """All that the model is told of what to build."""

    idea_brief: dict[str, JsonValue]
    answers: tuple[Answer, ...]
    plan: BuildPlan


async def load_brief(connection: AsyncConnection, project: str, request: BuildRequest) -> Brief:
    """Put together what to build, storing what the request carries.

    Raises InvalidBuildRequest when neither the request nor the project says what to build.
    """
    return Brief(
        idea_brief=await _idea_brief(connection, project, request),
        answers=await _answers(connection, project, request),
        plan=await _plan(connection, project, request),
    )


def normalise_answers(questions: JsonValue, answers: JsonValue) -> tuple[Answer, ...]:
    """Pair the questions of a session with their answers; unanswered ones are dropped."""
    if not isinstance(questions, list) or not isinstance(answers, dict):
        return ()
    asked = [each for each in questions if isinstance(each, dict)]
    pairs = [(str(each.get("text", "")), answers.get(str(each.get("id", "")))) for each in asked]
    return tuple(
        Answer(question=text, answer=given)
        for text, given in pairs
        if isinstance(given, str) and given.strip()
    )


async def _idea_brief(
    connection: AsyncConnection, project: str, request: BuildRequest
) -> dict[str, JsonValue]:
    stored = await _artifact(connection, project, IDEA_BRIEF)
    if request.idea_brief or (request.idea and not stored):
        brief = request.idea_brief or {"idea": request.idea}
        await _store(connection, project, IDEA_BRIEF, brief)
    elif stored:
        brief = stored
    else:
        raise ApplicationError(
            f"idea_brief: the project {project!r} has no stored brief, and the request carries neither "
            'idea_brief nor idea. Give one of them, for example {"idea": "A booking page for my studio"}.',
            type=FailureType.INVALID_BUILD_REQUEST,
            non_retryable=True,
        )
    if request.idea and request.idea != brief.get("idea"):
        return {**brief, "asked_for_now": request.idea}
    return brief


async def _answers(connection: AsyncConnection, project: str, request: BuildRequest) -> tuple[Answer, ...]:
    if request.answers:
        await connection.execute(insert(understanding_sessions).values(project=project, **_session(request)))
        return request.answers
    newest = (
        select(understanding_sessions.c.questions, understanding_sessions.c.answers)
        .filter_by(project=project)
        .order_by(understanding_sessions.c.created_at.desc(), understanding_sessions.c.id.desc())
        .limit(1)
    )
    found = (await connection.execute(newest)).one_or_none()
    return normalise_answers(found.questions, found.answers) if found else ()


async def _plan(connection: AsyncConnection, project: str, request: BuildRequest) -> BuildPlan:
    if request.build_plan != BuildPlan():
        await _store(connection, project, BUILD_PLAN, request.build_plan.model_dump(mode="json"))
        return request.build_plan
    try:
        return BuildPlan.model_validate(await _artifact(connection, project, BUILD_PLAN))
    except ValidationError as error:
        raise ApplicationError(
            f"build_plan: the stored plan of {project!r} is not valid ({error.error_count()} errors). "
            "Give a build_plan in the request; it replaces the stored one.",
            type=FailureType.INVALID_BUILD_REQUEST,
            non_retryable=True,
        ) from None


def _session(request: BuildRequest) -> dict[str, Any]:
    numbered = list(enumerate(request.answers, 1))
    return {
        "questions": [{"id": str(n), "text": each.question} for n, each in numbered],
        "answers": {str(n): each.answer for n, each in numbered},
    }


async def _artifact(connection: AsyncConnection, project: str, kind: str) -> dict[str, JsonValue]:
    query = select(artifacts.c.content).filter_by(project=project, type=kind)
    return (await connection.execute(query)).scalar_one_or_none() or {}


async def _store(
    connection: AsyncConnection, project: str, kind: str, content: Mapping[str, JsonValue]
) -> None:
    row = insert(artifacts).values(project=project, type=kind, content=content)
    await connection.execute(
        row.on_conflict_do_update(
            index_elements=["project", "type"],
            set_={"content": row.excluded.content, "updated_at": func.now()},
        )
    )
