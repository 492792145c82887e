"""A call runs at most once, whoever is killed and whoever asks again."""

import os
import random
import re
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from activities.runner import groups
from tests.runner_box import Box, finish, until

FORGET = "rm -r ~/.nightshift/claims ~/.nightshift/identity"


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_answer_has_exit_code_output_and_directory(box: Box):
    """A command's answer carries its exit code, stdout and stderr in order, and where it ended."""
    answer = box.bash("a", "echo out; echo err >&2; mkdir -p sub; cd sub; exit 3")

    assert (answer["status"], answer["exit_code"], answer["is_error"]) == ("done", 3, True)
    assert answer["text"] == "Exit code 3\nout\nerr"
    assert answer["cwd"] == str(box.workspace / "sub")


def test_second_call_gets_the_same_answer(box: Box):
    """Asking again under a claim answers what was answered, and runs nothing."""
    first = box.bash("a", "echo x >> ran; echo $RANDOM", capture=True)
    again = box.bash("a", "echo x >> ran; echo $RANDOM", capture=True)

    assert again == first
    assert first["capture"]["number"] == 1
    assert lines(box.workspace / "ran") == ["x"]


def test_claim_is_of_a_generation(box: Box):
    """The same id under another generation is another claim."""
    box.bash("a", "echo x >> ran")
    box.generation = 2
    box.bash("a", "echo x >> ran")

    assert lines(box.workspace / "ran") == ["x", "x"]


def test_concurrent_call_waits(box: Box):
    """A second call under a running claim waits, and gets the first one's answer."""
    first = box.begin(
        "call", claim="a", tool="bash", input={"command": "echo x >> ran; read < gate; echo $$"}
    )
    os.mkfifo(box.workspace / "gate")
    until(lambda: lines(box.workspace / "ran"))
    second = box.begin("call", claim="a", tool="bash", input={"command": "echo x >> ran"})
    until(lambda: f" {second.pid} " in str(re.findall("-> .*", Path("/proc/locks").read_text())))
    (box.workspace / "gate").write_text("go\n")
    answers = finish(first), finish(second)

    assert answers[0] == answers[1]
    assert lines(box.workspace / "ran") == ["x"]


def test_killed_wrapper_is_interrupted_and_writes_no_more(box: Box):
    """After kill -9 of the wrapper the next call kills the whole group first, those included that fled it."""
    command = "echo $$ > pid; (setsid sh -c 'echo $$ > fled; while :; do echo x >> late; done' &) ; sleep 600"
    process = box.begin("call", claim="a", tool="bash", input={"command": command})
    until(lambda: lines(box.workspace / "late") and lines(box.workspace / "fled"))
    process.kill()
    process.communicate()
    answer = box.bash("a", command)
    size = (box.workspace / "late").stat().st_size
    left = [pid for name in ("pid", "fled") for pid in lines(box.workspace / name) if alive(pid)]

    assert (answer["status"], answer["is_error"]) == ("interrupted", True)
    assert left == []
    assert (box.workspace / "late").stat().st_size == size
    assert box.bash("a", command) == answer


def test_killed_group_is_an_exit_code(box: Box):
    """A command whose group is killed ends with 128 + signal, as a shell says it."""
    process = box.begin(
        "call", claim="a", tool="bash", input={"command": "echo $$ > pid; sleep 600"}, capture=False
    )
    pid = until(lambda: lines(box.workspace / "pid"))[0]
    os.killpg(int(pid), signal.SIGKILL)
    answer = finish(process)

    assert (answer["status"], answer["exit_code"]) == ("done", 137)


def test_exit_code_survives_the_wrapper(box: Box):
    """A command that ended before its wrapper was killed is done, not interrupted; it is captured then."""
    first = box.bash("a", "echo x >> ran; exit 4")
    box.state("claims", "1-a", "result").unlink()
    again = box.bash("a", "echo x >> ran; exit 4", capture=True)

    assert (again["status"], again["exit_code"], again["text"]) == ("done", 4, first["text"])
    assert again["capture"]["number"] == 1
    assert lines(box.workspace / "ran") == ["x"]


@pytest.mark.parametrize("seed", range(20))
def test_random_kills(box: Box, seed: int):
    """Whenever the wrapper is killed, it begins at most once and writes nothing after the answer."""
    chance = random.Random(seed)
    command = (
        "echo begun >> ran; for i in $(seq 30); do echo $i >> steps; sleep 0.005; done; echo ended >> ran"
    )
    fields = {"claim": "a", "tool": "bash", "input": {"command": command}, "capture": False}
    waiting = box.begin("call", **fields)
    for _ in range(chance.randint(1, 3)):
        process, waiting = waiting, box.begin("call", **fields)
        until(box.state("claims", "1-a", "lock").exists)
        with suppress(subprocess.TimeoutExpired):
            process.wait(chance.uniform(0, 0.3))
        process.kill()
        process.communicate()
    answer = finish(waiting)
    begun = lines(box.workspace / "ran").count("begun")
    steps = len(lines(box.workspace / "steps"))

    assert answer["status"] in ("done", "interrupted")
    assert begun == 1 if answer["status"] == "done" else begun <= 1
    assert ("ended" in lines(box.workspace / "ran")) or answer["status"] == "interrupted"
    assert box.run("call", **fields) == answer
    assert len(lines(box.workspace / "steps")) == steps


def test_timeout_kills_and_keeps_the_output(box: Box):
    """A command over its time is killed, with all that it started; what it printed is in the answer."""
    answer = box.bash("a", "echo begun; sleep 600 & echo $! > pid; wait", timeout_seconds=1)

    assert (answer["status"], answer["exit_code"], answer["is_error"]) == ("timeout", None, True)
    assert (
        "it ran longer than 1 seconds. For a server or a long job set background to true." in answer["text"]
    )
    assert answer["text"].endswith("\nbegun")
    assert not alive(lines(box.workspace / "pid")[0])


def test_flood_of_output_is_stopped(box: Box):
    """A command that would fill the disk with output is stopped at the limit."""
    answer = box.bash("a", "yes", limits={"output_bytes": 100_000}, timeout_seconds=50)

    assert answer["status"] == "timeout"
    assert "printed more than 100000 bytes" in answer["text"]


def test_long_output_keeps_head_and_tail(box: Box):
    """At most 30,000 characters come back, from both ends; the whole is in a file that is named."""
    answer = box.bash("a", "seq 1 2000000")

    assert answer["truncated"]
    assert len(answer["text"]) <= 30_000
    assert answer["text"].startswith("1\n2\n")
    assert answer["text"].endswith("\n2000000")
    assert answer["output_path"] in answer["text"]
    assert Path(answer["output_path"]).read_text().count("\n") == 2_000_000


def test_output_is_clean(box: Box):
    """Terminal escapes, overwritten progress, NUL and bytes that are no UTF-8 do not reach the model."""
    answer = box.bash("a", r"printf '\033[31mred\033[0m\n10%%\r100%%\n\000\377\355\240\200z'")

    assert answer["text"].encode("utf-8")
    assert answer["text"].startswith("red\n100%\n")
    assert "\x00" not in answer["text"]
    assert answer["text"].endswith("z")


def test_directory_persists_and_is_reset_outside(box: Box):
    """The directory is kept between calls; outside the workspace it is reset, and the model is told."""
    box.bash("a", "mkdir sub && cd sub")
    inside = box.bash("b", "pwd; cd /")
    after = box.bash("c", "pwd")

    assert inside["text"] == f"{box.workspace}/sub\nThe working directory was reset to {box.workspace}."
    assert after["text"] == str(box.workspace)


def test_removed_directory_starts_over(box: Box):
    """If the kept directory is gone, a command starts in the workspace."""
    box.bash("a", "mkdir sub && cd sub")
    (box.workspace / "sub").rmdir()

    assert box.bash("b", "pwd")["text"] == str(box.workspace)


def test_environment_is_given_and_credentials_are_not(tmp_path: Path):
    """Commands see the request's environment, and not what names our own credentials."""
    environment = {**os.environ, "ANTHROPIC_API_KEY": "k", "AWS_SECRET_ACCESS_KEY": "k", "KEPT": "yes"}
    box = Box(tmp_path, environment=environment)
    answer = box.bash(
        "a", 'echo "$KEPT $GIVEN [$ANTHROPIC_API_KEY$AWS_SECRET_ACCESS_KEY]"', environment={"GIVEN": "g"}
    )

    assert answer["text"] == "yes g []"


def test_stdin_is_empty_and_no_descriptor_leaks(box: Box):
    """A command reads nothing from stdin and holds none of the runner's files."""
    answer = box.bash("a", "cat; ls /proc/self/fd | wc -l")

    assert answer["text"] == "4"


def test_broken_pipes_end_programs(box: Box):
    """Programs have the usual signals: a writer to a closed pipe ends silently."""
    assert box.bash("a", "yes | head -1; echo ${PIPESTATUS[0]}")["text"] == "y\n141"


def test_background_command_is_tracked_and_stopped(box: Box):
    """A background command answers at once with its log, is listed as alive, and is stopped when asked."""
    answer = box.bash("a", "echo ready; sleep 600", given={"background": True})
    listed = box.run("processes")["processes"]
    log = box.run("read_file", path=answer["log_path"])
    stopped = box.run("stop_processes")["stopped"]

    assert (answer["status"], answer["exit_code"]) == ("done", None)
    assert [(row["command"], row["alive"]) for row in listed] == [("echo ready; sleep 600", True)]
    assert log["text"] == "     1\tready"
    assert not alive(str(listed[0]["pid"]))
    assert [row["pid"] for row in stopped] == [listed[0]["pid"]]
    assert box.run("processes")["processes"] == []


def test_background_command_that_fails_at_once_is_an_error(box: Box):
    """A background command that ends at once says so."""
    answer = box.bash("a", "echo no such port >&2; exit 7", given={"background": True})

    assert (answer["exit_code"], answer["is_error"]) == (7, True)
    assert answer["text"] == "Exit code 7\nno such port"


def test_what_a_foreground_command_left_running_is_tracked(box: Box):
    """A job that a command left behind with & is listed and stopped like a background command."""
    box.bash("a", "sleep 600 & echo $! > pid")
    stopped = box.run("stop_processes")["stopped"]

    assert len(stopped) == 1
    assert not alive(lines(box.workspace / "pid")[0])


def test_stubborn_process_is_killed(box: Box):
    """A process that ignores SIGTERM is killed after the grace."""
    box.bash("a", "trap '' TERM; echo $$ > pid; while :; do sleep 1; done", given={"background": True})
    box.run("stop_processes", grace_seconds=0.2)

    assert not alive(lines(box.workspace / "pid")[0])


def test_bad_claim_is_refused(box: Box):
    """A claim that is no plain name is an error value, with exit code 0."""
    assert box.bash("../x", "true")["error"]["kind"] == "invalid_request"


def test_unknown_command_and_bad_json_are_values(box: Box):
    """Failures are values: the answer is one JSON line whatever is asked."""
    assert box.run("nonsense")["error"]["kind"] == "unknown_command"
    assert box.run("call")["error"] == {"kind": "invalid_request", "message": "The request lacks 'claim'."}


def alive(pid: str) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2]
    except FileNotFoundError:
        return False
    return state[0] not in "ZX"


@pytest.mark.parametrize("seconds", [0, 60])
def test_a_call_whose_end_cannot_be_noted_is_said_to_have_begun(box: Box, seconds: int):
    """What ran may not be called undone, or it would be run again; what runs on unnoticed is stopped."""
    command = f'echo $$ > pid; mkdir "${groups.MARK}/exit"; exec sleep {seconds}'
    answer = box.bash("a", command, given={"background": seconds > 0})
    again = box.bash("a", command)

    assert answer["error"]["begun"]
    assert again["error"]["begun"]
    assert not alive(lines(box.workspace / "pid")[0])


def test_a_call_that_did_not_begin_is_not_said_to_have_begun(box: Box):
    """Only what may have taken effect is looked at before it is made again."""
    box.state("claims", "1-a", "output").mkdir(parents=True)
    answer = box.bash("a", "echo x >> ran")

    assert "begun" not in answer["error"]
    assert lines(box.workspace / "ran") == []


def test_a_call_that_was_forgotten_is_not_run_again(box: Box):
    """A command may delete its own claim with the runner's folder: who asks again is told, nothing is run."""
    identity = box.run("probe")["identity"]
    dying = box.begin("call", claim="a", tool="bash", input={"command": f"echo x >> ran; {FORGET}; sleep 60"})
    until(lambda: lines(box.workspace / "ran") and not box.state("identity").exists())
    dying.kill()
    dying.communicate()
    again = box.bash("a", "echo x >> ran", identity=identity, again=True)
    other = box.bash("b", "echo y >> ran", identity=identity)

    assert (again["status"], other["status"]) == ("interrupted", "done")
    assert ".nightshift" in again["text"]
    assert lines(box.workspace / "ran") == ["x", "y"]


def test_a_call_that_never_arrived_is_run_when_it_is_asked_again(box: Box):
    """An attempt that died before it reached the sandbox has run nothing."""
    identity = box.run("probe")["identity"]
    answer = box.bash("a", "echo x >> ran", identity=identity, again=True)

    assert answer["status"] == "done"
    assert lines(box.workspace / "ran") == ["x"]
