"""The scripted commands say the truth of their workspace on a full disk, too."""

import resource
import subprocess
from pathlib import Path

import pytest

from starter.local.model.conversation import Call, Conversation
from starter.local.model.scripts.units import SCRIPT
from starter.local.model.steps import Use
from tests.chaos import witness

ROOM = 64 * 1024
"""How far a file can still be written on a full disk of the sandbox server, bytes."""


def conversation(*calls: Call) -> Conversation:
    brief = "[[script:units units=3]]"
    return Conversation(brief, "", calls, (), turns=len(calls), rounds=0, tools=frozenset({"bash"}))


def command(*calls: Call) -> str:
    """Give the command that comes next."""
    [use] = [said for said in SCRIPT.play(conversation(*calls)).said if isinstance(said, Use)]
    return use.input["command"]


def done(result: str, *, is_error: bool = False) -> Call:
    return Call("s", "bash", {}, 0, result, is_error)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "workspace").mkdir()
    (tmp_path / "witness").write_bytes(b"start 0-x sbx 1.0 \n" * (ROOM // 10))
    return tmp_path


def run(place: Path, name: str, words: str, *, is_full: bool = False) -> subprocess.CompletedProcess[str]:
    def fill() -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, hard))

    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(place),
        "LOCAL_WITNESS": str(place / "witness"),
        "NIGHTSHIFT_CLAIM": f"/claims/1-{name}",
        "E2B_SANDBOX_ID": "sbx",
    }
    return subprocess.run(
        ["bash", "-c", words],
        cwd=place / "workspace",
        env=environment,
        preexec_fn=fill if is_full else None,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_commit_without_room_commits_nothing(place: Path):
    """It fails, its witness lines arrive all the same, and the next look goes back to the last commit."""
    workspace = place / "workspace"
    run(place, "a", command())
    begun = done("at 0 of 3")
    (workspace / "parts").mkdir()
    (workspace / "parts" / "p1.txt").write_text("Part 1.")
    (workspace / "LOG.md").write_text("unit 1\n")
    wrote = Call("s", "write_file", {}, 1, "", False), Call("s", "edit_file", {}, 1, "", False)
    failed = run(place, "b", command(begun, *wrote), is_full=True)
    looked = run(place, "c", command(begun, *wrote, done("Exit code 153", is_error=True)))
    told = witness.read(place / "witness")

    assert 0 != failed.returncode
    assert (1, 0) == (len(told["b"].starts), len(told["b"].ends))
    assert "at 0 of 3\n" == looked.stdout
    assert told["c"].left == witness.State.parse("0:")


def test_a_look_that_cannot_go_back_does_not_say_where_it_stands(place: Path):
    """Else the work would go on from a workspace that is neither here nor there."""
    workspace = place / "workspace"
    run(place, "a", command())
    (workspace / "large.txt").write_text("x" * 3 * ROOM)
    run(place, "b", "git add -A && git -c user.name=B -c user.email=b@example.com commit -q -m large")
    (workspace / "large.txt").unlink()
    look = command(done("at 0 of 3"), done("Exit code 1", is_error=True))
    failed, mended = run(place, "c", look, is_full=True), run(place, "d", look)

    assert 0 != failed.returncode
    assert "at " not in failed.stdout
    assert "at 1 of 3\n" == mended.stdout
