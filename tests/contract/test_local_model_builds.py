"""The scripted builds, played to their ends by a small agent with real files, commands and tests."""

import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest
from genai_prices import Usage, calc_price

from activities.prompt import first_message, system_prompt
from starter.local.model.scripts.theme import theme_of
from tests.local_model import MODEL, Agent, LocalModel, ToolBox, empty, running_model, steps
from workflows.catalogue import InvalidToolCall, ToolName, parse_call
from workflows.models import BuildRequest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.json"))
CHECKS = ("-m unittest discover -s tests -t .", "-m unittest discover")


@pytest.fixture(scope="module")
async def model(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalModel]:
    async with running_model(tmp_path_factory.mktemp("model")) as running:
        yield running


@pytest.fixture
def tools(tmp_path: Path) -> Iterator[ToolBox]:
    box = ToolBox.in_directory(tmp_path)
    yield box
    box.close()


def brief(example: Path) -> str:
    given = BuildRequest.model_validate_json(example.read_text())
    return first_message(given.idea_brief, given.answers, given.build_plan, is_further=False)[0]["text"]


def assert_sound(tools: ToolBox) -> None:
    """The checks of a build pass, and the app answers on $PORT."""
    for check in CHECKS:
        line = [sys.executable, *check.split()]
        done = subprocess.run(
            line, cwd=tools.root, env=tools.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    tools.bash(f"exec {sys.executable} app.py", background=True)
    assert 200 == status_of(tools.servers[-1], f"http://127.0.0.1:{tools.environment['PORT']}/")


def status_of(server: subprocess.Popen[bytes], url: str) -> int:
    deadline = time.monotonic() + 30
    while True:
        try:
            return httpx2.get(url, timeout=5).status_code
        except httpx2.TransportError:
            assert time.monotonic() < deadline, "the app does not answer"
        with pytest.raises(subprocess.TimeoutExpired):
            server.wait(timeout=0.05)


def failures(agent: Agent) -> list[str]:
    return [each["content"] for each in agent.results() if each["is_error"] and "FAILED" in each["content"]]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_whole_requests(example: Path):
    """Each example starts a build as it is: a brief, six answers, a plan with checks and a start."""
    given = BuildRequest.model_validate_json(example.read_text())

    assert example.stem == given.project
    assert 6 == len(given.answers)
    assert given.build_plan.checks
    assert "python3 app.py" == given.build_plan.start
    assert theme_of(brief(example)).title.replace(" ", "-").lower() == example.stem


async def test_webapp_builds_an_app_that_works(model: LocalModel, tools: ToolBox):
    """Three phases of the plan, all nine tools, one failing test that is mended, and an app that answers."""
    example = next(path for path in EXAMPLES if path.stem == "habit-tracker")
    agent = await Agent(model, tools, system=system_prompt()).build(brief(example))

    assert 15 <= len(agent.replies) <= 30
    assert ["Data model", "Web app", "Tests and polish"] == [
        call["phase_name"] for call in agent.calls("narrate") if "phase_name" in call
    ]
    asked = {b["name"] for m in agent.messages for b in m["content"] if b["type"] == "tool_use"}
    assert set(ToolName) == asked
    assert 1 == len(failures(agent))
    assert "day is out of range for month" in failures(agent)[0]
    assert_sound(tools)
    for block in (b for m in agent.messages for b in m["content"] if b["type"] == "tool_use"):
        parse_call(block["name"], block["input"])
    assert_cheap(agent)


def assert_cheap(agent: Agent) -> None:
    """A demo build costs about ten cents."""
    used = agent.tokens()
    read, written = used["cache_read_input_tokens"], used["cache_creation_input_tokens"]
    usage = Usage(
        input_tokens=used["input_tokens"] + read + written,
        output_tokens=used["output_tokens"],
        cache_read_tokens=read,
        cache_write_tokens=written,
    )
    assert calc_price(usage, model_ref=MODEL, provider_id="anthropic").total_price < Decimal("0.12")


async def test_further_builds_add_to_the_app(model: LocalModel, tools: ToolBox):
    """On a workspace that holds the app, a build adds a badge, test first; the next build the next one."""
    for expected in (None, '(7, "a full week")', '(14, "two weeks")'):
        agent = await Agent(model, tools).build("A habit tracker")

        assert len(agent.replies) >= 15
        assert 1 == len(failures(agent))
        assert expected is None or expected in (tools.root / "milestones.py").read_text()
    assert "badge" in (tools.root / "index.html").read_text()
    assert_sound(tools)


async def test_lost_files_are_written_again(model: LocalModel, tools: ToolBox):
    """Told that its work was undone, the model looks around and writes again what is missing."""
    lost: list[int] = []

    def lose(turn: int, blocks: list[dict[str, Any]]) -> list[str]:
        if not lost and any(
            block["input"].get("path") == "app.py" for block in blocks if block["name"] == "write_file"
        ):
            lost.append(turn)
            empty(tools.root)
            return ["[sandbox] The sandbox was lost (killed). These finished calls were undone:\n- app.py"]
        return []

    agent = await Agent(model, tools, notes=lose).build("A plant diary")

    assert lost
    assert 2 == steps(agent).count("look")
    assert_sound(tools)


async def test_an_interrupted_call_is_made_again(model: LocalModel, tools: ToolBox):
    """A call whose result says interrupted is issued again under a new id."""
    agent = Agent(
        model, tools, messages=[{"role": "user", "content": [{"type": "text", "text": "[[script:sleeper]]"}]}]
    )
    blocks = await agent.think()
    while blocks[0]["name"] != "bash":
        agent.messages.append({"role": "user", "content": [await tools.run(block) for block in blocks]})
        blocks = await agent.think()
    result = {"type": "tool_result", "tool_use_id": blocks[0]["id"], "is_error": True}
    agent.messages.append(
        {"role": "user", "content": [{**result, "content": "The command was interrupted."}]}
    )
    again = await agent.think()

    assert blocks[0]["input"] == again[0]["input"]
    assert blocks[0]["id"] != again[0]["id"]


async def test_a_missing_git_is_worked_around(model: LocalModel, tools: ToolBox):
    """Where git is missing, the founder is told once and nothing is committed again."""
    shadow = tools.root.parent / "no-git.sh"
    shadow.write_text('git() { echo "bash: line 1: git: command not found" >&2; return 127; }\n')
    tools.environment["BASH_ENV"] = str(shadow)
    agent = await Agent(model, tools).build("A habit tracker")

    assert 1 == sum("no git" in call["message"] for call in agent.calls("narrate"))
    assert "git" not in agent.calls("bash")[-1]["command"]
    assert_sound(tools)


async def test_a_warning_about_the_allowance_commits(model: LocalModel, tools: ToolBox):
    """A note that the allowance runs low makes the next turn commit; then the build goes on to its end."""
    noted = Agent(model, tools, notes=lambda turn, _: ["[allowance] 80 % is spent."] if turn == 9 else [])
    agent = await noted.build("A habit tracker")

    assert 1 == steps(agent).count("save")
    assert "Noted: [allowance]" in str(agent.messages)
    assert_sound(tools)


async def test_long_reads_almost_all_from_the_cache(model: LocalModel, tools: ToolBox):
    """Over twenty turns with breakpoints on system and last message, 90 % and more of the input is read."""
    agent = await Agent(model, tools).build("[[script:long turns=20]]")
    used = agent.tokens()
    total = sum(used.values()) - used["output_tokens"]

    assert 21 == len(agent.replies)
    assert "20\n" == (tools.root / ".turns").read_text()
    assert used["cache_read_input_tokens"] / total >= 0.9
    assert all(4_000 <= len(each["content"]) <= 6_000 for each in agent.results())
    assert_sound(tools)


async def test_long_goes_on_after_its_context_changed(model: LocalModel, tools: ToolBox):
    """With nothing but the brief left, `long` takes its count from the workspace."""
    await Agent(model, tools, max_turns=7).build("[[script:long turns=10]]")
    agent = await Agent(model, tools).build("[[script:long turns=10]]")

    assert 4 == len(agent.replies)
    assert "10\n" == (tools.root / ".turns").read_text()


async def test_units_come_to_the_same_commit_whatever_is_lost(model: LocalModel, tmp_path: Path):
    """Told that its files went back, it looks, and its last commit is that of the undisturbed build."""

    def lose(turn: int, _blocks: list[dict[str, Any]]) -> list[str]:
        if turn == 3:
            empty(disturbed.root)
        return ["[sandbox] The sandbox was lost (killed)."] if turn == 3 else []

    calm, disturbed = ToolBox.in_directory(tmp_path / "calm"), ToolBox.in_directory(tmp_path / "disturbed")
    agent = await Agent(model, calm).build("[[script:units units=4]]")
    again = await Agent(model, disturbed, notes=lose).build("[[script:units units=4]]")

    assert "All 4 units are committed." == agent.report == again.report
    assert 1 == steps(again).count("look")
    assert head(calm) == head(disturbed)
    assert_sound(disturbed)
    disturbed.close()


def head(tools: ToolBox) -> str:
    """Return the last commit."""
    words = ["git", "-C", str(tools.root), "rev-parse", "HEAD"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


async def test_webapp_goes_on_after_its_context_changed(model: LocalModel, tools: ToolBox):
    """With nothing but the brief left, `webapp` writes only what is missing and finishes."""
    await Agent(model, tools, max_turns=12).build("A habit tracker")
    agent = await Agent(model, tools).build("A habit tracker")

    assert "streaks.py" not in [call["path"] for call in agent.calls("write_file")]
    assert_sound(tools)


async def test_sleeper_is_short(model: LocalModel, tools: ToolBox):
    """`sleeper` takes as many turns as it is told, and one to end."""
    agent = await Agent(model, tools).build("[[script:sleeper turns=8]]")

    assert 9 == len(agent.replies)
    assert [f"step {n}" for n in range(2, 8)] == (tools.root / "notes.txt").read_text().splitlines()
    assert_sound(tools)


async def test_idle_ends_at_once(model: LocalModel, tools: ToolBox):
    """`idle` says a word, whatever it is told, and never the same twice."""
    agent = await (await Agent(model, tools).build("[[script:idle]]")).build("[checks] FAILED")

    assert ["end_turn", "end_turn"] == [reply.stop_reason for reply in agent.replies]


async def test_wild_repairs_itself(model: LocalModel, tools: ToolBox):
    """`wild` asks for an unknown tool, invalid inputs and two changes at once, then ends with a sound app."""
    agent = await Agent(model, tools).build("[[script:wild]]")
    blocks = [b for m in agent.messages for b in m["content"] if b["type"] == "tool_use"]

    assert ["teleport", "read_file", "bash"] == [block["name"] for block in blocks[:3]]
    for block in blocks[:3]:
        with pytest.raises(InvalidToolCall):
            parse_call(block["name"], block["input"])
    assert_sound(tools)


async def test_loop_never_ends(model: LocalModel, tools: ToolBox):
    """`loop` makes one call for ever, each under its own id."""
    agent = await Agent(model, tools, max_turns=12).build("[[script:loop]]")

    assert 12 == len({each["tool_use_id"] for each in agent.results()})
    assert 1 == len({str(call) for call in agent.calls()})


async def test_broken_mends_itself_when_told(model: LocalModel, tools: ToolBox):
    """`broken` claims to be done with a crashing app, and mends it once the failed checks are reported."""
    agent = await Agent(model, tools).build("[[script:broken fails=2]]")
    with pytest.raises(AssertionError):
        assert_sound(tools)
    await agent.build("[checks] You ended your turn, but the proof failed:\nRuntimeError")
    with pytest.raises(AssertionError):
        assert_sound(tools)
    await agent.build("[checks] You ended your turn, but the proof failed:\nRuntimeError")

    assert_sound(tools)
