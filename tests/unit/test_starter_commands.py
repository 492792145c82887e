import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from starter.__main__ import command_of, main, parser
from starter.commands import explain, say_command
from starter.local.parts import CHOSEN_BY, Part

ROOT = Path(__file__).parents[2]
LINES = {
    "demo": {"command": "demo", "file": None, "json": False},
    "demo my.json --json": {"command": "demo", "file": Path("my.json"), "json": True},
    "up": {"command": "up"},
    "doctor": {"command": "doctor"},
    "start my.json --watch": {"command": "start", "file": Path("my.json"), "idea": "", "watch": True},
    "start --idea x --project p --user u --model m --id i": {
        "command": "start", "file": None, "idea": "x", "project": "p", "user": "u", "model": "m", "id": "i",
    },
    "watch b": {"command": "watch", "id": "b"},
    "timeline b": {"command": "timeline", "id": "b"},
    "wake b": {"command": "wake", "id": "b"},
    "pause b": {"command": "pause", "id": "b"},
    "resume b": {"command": "resume", "id": "b"},
    "status b --json": {"command": "status", "id": "b", "json": True},
    "rewind b --turn 7": {"command": "rewind", "id": "b", "turn": 7, "budget": ""},
    "fork b": {"command": "fork", "id": "b", "turn": None, "watch": False},
    "fork b --turn 0 --budget 2.5 --say x --model m --id n": {
        "id": "b", "turn": 0, "budget": "2.5", "say": "x", "model": "m", "new_id": "n",
    },
    "receipt b": {"command": "receipt", "id": "b", "json": False},
    "quote my.json --json": {"command": "quote", "file": Path("my.json"), "idea": "", "json": True},
    "say b hello": {"command": "say", "id": "b", "text": "hello"},
    "add ann 5": {"command": "add", "id": "ann", "amount": "5"},
    "add ann -5": {"command": "add", "id": "ann", "amount": "-5"},
    "model b claude-haiku-5-5": {"command": "model", "id": "b", "model": "claude-haiku-5-5"},
    "switch off": {"command": "switch", "to": "off"},
    "admin show ann": {"command": "admin", "edit": "show", "user": "ann"},
    "admin budget ann 30.5": {"command": "admin", "edit": "budget", "user": "ann", "value": "30.5"},
    "admin model ann plan": {"command": "admin", "edit": "model", "user": "ann", "role": "coder"},
    "admin limit ann tool_calls 9": {"edit": "limit", "user": "ann", "name": "tool_calls", "value": "9"},
    "stop b": {"command": "stop", "id": "b", "text": ""},
    "stop b enough": {"command": "stop", "id": "b", "text": "enough"},
}  # fmt: skip


@pytest.mark.parametrize("line", LINES)
def test_a_command_line_is_understood(line: str):
    """Every command, with its arguments and their defaults."""
    given = vars(parser().parse_args(line.split()))

    assert LINES[line] == {name: given[name] for name in LINES[line]}


@pytest.mark.parametrize("line", ["", "dance", "say b", "watch", "wake", "status", "stop", "start a b"])
def test_a_wrong_command_line_is_refused(line: str, capsys: pytest.CaptureFixture[str]):
    """With status 2 and the usage, before anything is opened."""
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(line.split())

    assert 2 == ended.value.code
    assert "usage: python -m starter" in capsys.readouterr().err


@pytest.mark.parametrize("line", LINES)
def test_every_command_runs_something(line: str):
    """The signals share one function; each other command has its own, of its own name."""
    name = line.split(maxsplit=1)[0]
    shared = {"wake", "pause", "resume", "say", "stop"}

    assert ("signal" if name in shared else name) == command_of(name).__name__


def test_help_is_quick_and_names_every_command():
    """It opens nothing and imports no vendor."""
    code = (
        "import sys, starter.__main__ as m; print(m.parser().format_help()); "
        "print(sorted({'temporalio', 'anthropic', 'e2b', 'sqlalchemy'} & set(sys.modules)))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout

    assert "[]" == told.splitlines()[-1]
    assert all(line.split()[0] in told for line in LINES)


def test_a_build_that_runs_already_is_explained():
    """The id is taken: choose another, or watch that one."""
    said = explain(WorkflowAlreadyStartedError("mine", "BuildWorkflow"))

    assert "A build 'mine' is running. Choose another --id, or watch that one." == said


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (RPCStatusCode.NOT_FOUND, "There is no such build, or it has ended: from the server"),
        (RPCStatusCode.PERMISSION_DENIED, "The Temporal server refused: from the server"),
    ],
)
def test_a_refusal_of_the_server_is_explained(status: RPCStatusCode, said: str):
    """What it means, and what to do where that is known."""
    assert said == explain(RPCError("from the server", status, b""))


async def test_an_expected_failure_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Status 1, the file and the fault, and no traceback."""
    given = parser().parse_args(["start", str(tmp_path / "missing.json")])

    assert 1 == await main(given)
    assert f"{tmp_path / 'missing.json'} cannot be read" in "".join(capsys.readouterr())


async def test_nothing_to_start_is_said(capsys: pytest.CaptureFixture[str]):
    """Neither file nor idea."""
    assert 1 == await main(parser().parse_args(["start"]))
    assert "Give a file, --idea TEXT, or --project" in capsys.readouterr().out


async def test_a_server_that_does_not_answer_is_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """It names the address that was tried."""
    monkeypatch.setenv("NIGHTSHIFT_DATA", str(tmp_path))
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")

    assert 1 == await main(parser().parse_args(["wake", "b"]))
    assert "127.0.0.1:1" in "".join(capsys.readouterr())


async def test_a_command_without_a_stack_says_how_to_start_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Nothing is started behind a person's back."""
    monkeypatch.setenv("NIGHTSHIFT_DATA", str(tmp_path))
    for name in CHOSEN_BY[Part.TEMPORAL]:
        monkeypatch.setenv(name, "")

    assert 1 == await main(parser().parse_args(["status", "b"]))
    assert "make up" in "".join(capsys.readouterr())


def test_a_printed_command_leads_to_a_server_of_ones_own(monkeypatch: pytest.MonkeyPatch):
    """By address, namespace and profile where they are set; not by this checkout's file, never with a key."""
    for name, value in (("ADDRESS", "cloud:7233"), ("NAMESPACE", "shop"), ("API_KEY", "secret")):
        monkeypatch.setenv(f"TEMPORAL_{name}", value)
    out = io.StringIO()
    say_command(Console(file=out), "workflow", "list")

    assert "$ temporal workflow list --address cloud:7233 --namespace shop\n" == out.getvalue()


def test_a_printed_command_can_be_pasted():
    """Quoted for a shell, on one line however long, and never wrapped."""
    out = io.StringIO()
    say_command(Console(file=out, width=20), "workflow", "start", "--input", '{"idea": "it\'s"}')
    (line,) = out.getvalue().splitlines()
    split = subprocess.run(
        ["sh", "-c", "printf '%s\\n' " + line.removeprefix("$ temporal ")],
        check=True, capture_output=True, text=True,
    ).stdout.splitlines()  # fmt: skip

    assert ["workflow", "start", "--input", '{"idea": "it\'s"}', "--env-file"] == split[:-1]


async def test_a_known_project_can_be_started_without_an_idea(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """A further build needs no more than the project's name."""
    monkeypatch.setenv("NIGHTSHIFT_DATA", str(tmp_path))
    for name in CHOSEN_BY[Part.TEMPORAL]:
        monkeypatch.setenv(name, "")

    await main(parser().parse_args(["start", "--project", "shop"]))

    assert "Give a file or --idea" not in "".join(capsys.readouterr())
