"""The prompt says what the founder said, and nothing that changes."""

import json

from activities.prompt import first_message, prefix, system_prompt
from activities.rows import dump
from workflows.catalogue import ToolName, definitions
from workflows.models import Answer, BuildPlan, PlanPhase

BRIEF = {"idea": "Ünïcode <tags> & more", "risks": ["a", "b"]}
PLAN = BuildPlan(
    goal="A page", phases=(PlanPhase(name="Base", items=("x",)),), checks=("pytest",), start="run"
)


def said(*, answers: tuple[Answer, ...] = (), plan: BuildPlan = PLAN, is_further: bool = False) -> str:
    return first_message(BRIEF, answers, plan, is_further=is_further)[0]["text"]


def test_brief_is_given_whole():
    """The brief's JSON can be read back from the message."""
    inside = said().partition("<idea_brief>")[2].partition("</idea_brief>")[0]

    assert json.loads(inside) == BRIEF


def test_answers_are_given_in_order():
    """Each question stands before its answer."""
    text = said(answers=(Answer(question="Who?", answer="Me"), Answer(question="Why?", answer="Fun")))

    assert "Q: Who?\nA: Me\n\nQ: Why?\nA: Fun" in text


def test_missing_interview_and_plan_are_said():
    """The model is told that there is none, and to make a plan."""
    text = said(plan=BuildPlan())

    assert "No interview was held" in text
    assert "PLAN.md" in text


def test_plan_is_given_whole():
    """Phases, checks and start command can be read back."""
    inside = said().partition("<build_plan>")[2].partition("</build_plan>")[0]

    assert BuildPlan.model_validate(json.loads(inside)) == PLAN


def test_further_build_is_told_of_its_files():
    """A workspace that holds files is never called empty."""
    assert "The workspace is empty" in said()
    assert "The workspace is empty" not in said(is_further=True)


def test_prefix_is_frozen():
    """The prefix is the same text each time it is made, so its cache is shared."""
    assert dump(prefix(definitions())) == dump(prefix(definitions()))


def test_tools_named_in_the_prompt_exist():
    """The prompt names no tool that is not there."""
    named = {"narrate", "document", "take_screenshot"}

    assert named <= set(ToolName)
    assert all(f"`{name}`" in system_prompt() for name in named)
