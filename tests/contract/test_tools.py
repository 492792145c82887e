"""The rules of `activities/tools.py`, against the real runner, sandbox server, database and stream."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from sqlalchemy import select
from temporalio.exceptions import ApplicationError

from activities.progress import Progress
from activities.sandbox_client import MAX_SILENCES
from activities.screenshots import Screenshots, find_browser
from activities.tables import documents, phases
from activities.tools import Tools
from tests.contract.conftest import Bench
from tests.runner_images import png
from workflows.errors import FailureType
from workflows.files import SandboxRef
from workflows.turns import ToolOutcome

PAGE = "<title>Hi</title><h1>Hello</h1><script>throw Error('odd')</script>"


async def result_of(bench: Bench, head: int, use: str) -> dict:
    kept = await bench.transcript.result(head, use)
    assert kept is not None
    return json.loads(kept.body)


async def types_of(bench: Bench) -> list[str]:
    return [event.type for event in await bench.events.read(bench.build_id)]


async def test_files_are_written_read_edited_and_found(bench: Bench):
    """The six file and shell tools work on the same workspace."""
    sandbox = await bench.create()

    wrote = await bench.use(sandbox, "write_file", {"path": "a/x.py", "content": "one = 1\n"})
    read = await bench.use(sandbox, "read_file", {"path": "a/x.py"})
    edited = await bench.use(
        sandbox, "edit_file", {"path": "a/x.py", "old_string": "one = 1", "new_string": "two = 2"}
    )
    found = await bench.use(sandbox, "grep", {"pattern": "two", "mode": "content"})
    listed = await bench.use(sandbox, "glob", {"pattern": "**/*.py"})
    ran = await bench.bash(sandbox, "python3 -c 'import a.x; print(a.x.two)'")

    assert not any(each.is_error for each in (wrote, read, edited, found, listed, ran))
    assert "one = 1" in read.preview
    assert "two = 2" in found.preview
    assert "a/x.py" in listed.preview
    assert ran.preview.strip() == "2"
    assert edited.captured > wrote.captured > 0


async def test_a_second_attempt_gives_the_kept_result(bench: Bench):
    """Once a result is written the call is not made again; in another sandbox it counts as undone."""
    sandbox = await bench.create()
    head = await bench.reply(("t1", "bash", {"command": "echo x >> log; wc -l < log"}))

    first = await bench.run(sandbox, head, "t1", "bash")
    second = await bench.run(sandbox, head, "t1", "bash")

    moved = await bench.run(
        sandbox.model_copy(update={"generation": sandbox.generation + 1}), head, "t1", "bash"
    )

    assert first == second
    assert (True, False) == (first.captured > 0, first.undone)
    assert (0, None, True) == (moved.captured, moved.running, moved.undone)
    assert (await bench.bash(sandbox, "wc -l < log")).preview.strip() == "1"


async def test_a_second_attempt_tells_the_same(bench: Bench):
    """What a lost answer would have told is in the row: an interruption, a phase and its item."""
    begun = {"message": "on", "phase_name": "Code", "plan_item": "api"}
    told = await bench.reply(("t1", "narrate", begun))
    cut = await bench.reply(("t2", "bash", {"command": "echo x"}))
    await bench.transcript.note_start(cut, "t2", generation=1)
    sandbox = await bench.create(generation=2)

    narrated = [await bench.run(sandbox, told, "t1", "narrate") for _ in range(2)]
    interrupted = [await bench.run(sandbox, cut, "t2", "bash") for _ in range(2)]

    assert ("Code", "api") == (narrated[0].phase, narrated[0].plan_item)
    assert interrupted[0].interrupted
    assert narrated[0] == narrated[1]
    assert interrupted[0] == interrupted[1]


async def test_a_worker_that_dies_in_mid_command_has_it_run_once(bench: Bench):
    """The attempt that is cut off leaves its command running; the next attempt waits for its one result."""
    sandbox = await bench.create()
    command = "echo began >> log; until [ -e go ]; do sleep 0.05; done; wc -l < log"
    head = await bench.reply(("t1", "bash", {"command": command}))

    dying = asyncio.create_task(bench.run(sandbox, head, "t1", "bash"))
    await _until(bench, sandbox, "log")
    dying.cancel()
    await asyncio.wait({dying})
    retried = asyncio.create_task(bench.run(sandbox, head, "t1", "bash"))
    await bench.client.write(sandbox.sandbox_id, f"{sandbox.workspace}/go", b"")
    outcome = await retried

    assert outcome.preview.strip() == "1"
    assert not outcome.is_error
    assert (await bench.bash(sandbox, "wc -l < log")).preview.strip() == "1"


async def test_a_call_begun_in_a_lost_sandbox_is_interrupted(bench: Bench):
    """A changing call whose first attempt was made in an older generation is not repeated."""
    await bench.create()
    head = await bench.reply(("t1", "bash", {"command": "touch done"}))
    await bench.transcript.note_start(head, "t1", generation=1)
    again = await bench.create(generation=2)

    outcome = await bench.run(again, head, "t1", "bash")

    assert outcome.interrupted
    assert outcome.is_error
    assert "may or may not" in outcome.preview
    assert (await bench.bash(again, "ls -A")).preview.strip() == "(no output)"


async def test_a_command_whose_end_cannot_be_noted_is_interrupted(bench: Bench):
    """Its result never reads as if it had not been made, and its changes are yet to be captured."""
    sandbox = await bench.create()

    outcome = await bench.bash(sandbox, 'echo x > ran; mkdir "$NIGHTSHIFT_CLAIM/exit"')

    assert (True, True, True) == (outcome.is_error, outcome.interrupted, outcome.uncaptured)
    assert "may have done part" in outcome.preview


async def test_a_workspace_that_was_moved_away_is_told(bench: Bench):
    """What lies elsewhere is not saved: the model hears of it at once, and once."""
    sandbox = await bench.create()

    told = await bench.bash(sandbox, "echo x > a; mv ~/workspace ~/app")
    after = await bench.bash(sandbox, "ls -A; mv ~/app/a .")

    assert "The workspace was moved or deleted" in told.preview
    assert after.preview.strip() == "(no output)"
    assert after.captured > told.captured > 0


async def test_a_command_that_deleted_its_claim_is_not_run_twice(bench: Bench):
    """An attempt whose answer was lost, in a sandbox that forgot it: the next one is told so."""
    sandbox = await bench.create()
    command = "echo x >> ~/ran; rm -rf ~/.nightshift; kill -9 $PPID"
    head = await bench.reply(("t1", "bash", {"command": command}))
    with pytest.raises(ApplicationError, match="gave no answer"):
        await bench.run(sandbox, head, "t1", "bash")

    outcome = await bench.run(sandbox, head, "t1", "bash", attempt=2)

    assert outcome.interrupted
    assert (await bench.bash(sandbox, "wc -l < ~/ran")).preview.strip() == "1"


async def test_a_sandbox_whose_runner_never_answers_is_lost(bench: Bench):
    """What the model broke, a fresh sandbox mends: the build neither hangs nor ends."""
    sandbox = await bench.create()
    await bench.bash(sandbox, "echo exit >> ~/.profile")
    head = await bench.reply(("t1", "bash", {"command": "true"}))

    failures = []
    while len(failures) < MAX_SILENCES:
        with pytest.raises(ApplicationError) as caught:
            await bench.run(sandbox, head, "t1", "bash")
        failures.append(caught.value.type)

    assert [FailureType.RETRYABLE] * (MAX_SILENCES - 1) + [FailureType.SANDBOX_LOST] == failures
    assert "gave no answer" in str(caught.value)


async def test_a_dead_sandbox_is_a_loss_and_no_result(bench: Bench):
    """The provider's failure never reads like a command's output: it is raised, nothing is written."""
    sandbox = await bench.create()
    await bench.client.kill(sandbox.sandbox_id)
    head = await bench.reply(("t1", "bash", {"command": "true"}))

    with pytest.raises(ApplicationError) as caught:
        await bench.run(sandbox, head, "t1", "bash")

    assert caught.value.type == FailureType.SANDBOX_LOST
    assert await bench.transcript.result(head, "t1") is None


async def test_a_superseded_sandbox_writes_no_result(bench: Bench):
    """An attempt that outlived its sandbox's generation may not speak for the build."""
    sandbox = await bench.create()
    head = await bench.reply(("t1", "narrate", {"message": "hello"}))
    await bench.create(generation=2)

    with pytest.raises(ApplicationError) as caught:
        await bench.run(sandbox, head, "t1", "narrate")

    assert caught.value.type == FailureType.SANDBOX_LOST


@pytest.mark.parametrize(
    ("tool", "given", "said"),
    [
        ("no_such_tool", {}, "There is no tool"),
        ("bash", {"comand": "ls"}, "command"),
        ("read_file", {"path": ""}, "path"),
        ("read_file", {"path": "../../etc/passwd"}, ""),
        ("read_file", {"path": "missing.txt"}, ""),
        ("edit_file", {"path": "missing.txt", "old_string": "a", "new_string": "b"}, ""),
    ],
)
async def test_the_models_faults_are_error_results(bench: Bench, tool: str, given: dict, said: str):
    """An unknown tool, an invalid input or a bad path goes back to the model as an error."""
    sandbox = await bench.create()

    outcome = await bench.use(sandbox, tool, given)

    assert outcome.is_error
    assert said in outcome.preview


async def test_a_refused_call_is_not_made(bench: Bench):
    """The workflow's refusal is the result; the sandbox is not touched."""
    sandbox = await bench.create()
    head = await bench.reply(("t1", "bash", {"command": "touch made"}))

    outcome = await bench.run(sandbox, head, "t1", "bash", refuse="The build is over its limit.")

    assert (outcome.preview, outcome.is_error) == ("The build is over its limit.", True)
    assert (await bench.bash(sandbox, "ls -A")).preview.strip() == "(no output)"


async def test_a_failing_command_keeps_its_output(bench: Bench):
    """A non-zero exit is an error result with what was printed before it."""
    sandbox = await bench.create()

    outcome = await bench.bash(sandbox, "echo before; exit 3")

    assert outcome.is_error
    assert "before" in outcome.preview
    assert "3" in outcome.preview


async def test_results_are_bounded_and_clean(bench: Bench):
    """At most 30,000 characters reach the model, and nothing that JSON or Postgres cannot hold."""
    sandbox = await bench.create()
    head = await bench.reply(("t1", "bash", {"command": "printf 'a\\0b\\377\\n'; seq 100000"}))

    outcome = await bench.run(sandbox, head, "t1", "bash")

    text = (await result_of(bench, head, "t1"))["content"]
    assert len(text) <= 30_000
    assert text.rstrip().endswith("100000")
    assert "\0" not in text
    assert len(outcome.preview) <= 200


async def test_notes_never_push_out_where_the_whole_output_is(bench: Bench):
    """A long output with long notes below it keeps the path by which it can be read."""
    sandbox = await bench.create()
    command = "for n in $(seq 12); do truncate -s 2G $(printf 'n%.0s' $(seq 240))$n; done; seq 100000"
    head = await bench.reply(("t1", "bash", {"command": command}))

    await bench.run(sandbox, head, "t1", "bash")

    text = (await result_of(bench, head, "t1"))["content"]
    assert "the whole output is in " in text
    assert "Not saved, too large" in text
    assert len(text) <= 30_000


async def test_our_credentials_do_not_reach_a_command(bench: Bench):
    """A command sees PORT and none of the worker's keys."""
    sandbox = await bench.create()
    head = await bench.reply(("t1", "bash", {"command": "env"}))

    await bench.run(sandbox, head, "t1", "bash")

    text = (await result_of(bench, head, "t1"))["content"]
    assert "PORT=8000" in text
    assert not [name for name in ("AWS_", "ANTHROPIC", "E2B_API_KEY", "DATABASE_URL") if name in text]


async def test_narration_and_phases_reach_the_watchers(bench: Bench):
    """A phase that begins ends the one before it, once, however often the call is made."""
    sandbox = await bench.create()
    await bench.use(sandbox, "narrate", {"message": "laying it out", "phase_name": "Layout"})
    second = await bench.use(sandbox, "narrate", {"message": "on", "phase_name": "Code", "plan_item": "api"})
    again = await bench.use(sandbox, "narrate", {"message": "still there", "phase_name": "Code"})

    told = [kind for kind in await types_of(bench) if kind != "agent.tool.called"]
    assert ("api", "") == (second.plan_item, again.plan_item)
    assert [("Code", False), ("Code", True)] == [(one.phase, one.phase_again) for one in (second, again)]
    assert told == [
        "gsd.phase.started",
        "agent.thinking",
        "gsd.phase.completed",
        "gsd.phase.started",
        "agent.thinking",
        "agent.thinking",
    ]
    async with bench.engine.connect() as connection:
        query = select(phases.c.name).where(
            phases.c.build_id == bench.build_id, phases.c.completed_at.is_(None)
        )
        assert (await connection.execute(query)).scalars().all() == ["Code"]


async def test_equal_results_have_one_digest(bench: Bench):
    """Whatever the call's id; another output, or the same one as an error, is told apart."""
    sandbox = await bench.create()
    polls = [await bench.bash(sandbox, "echo x >> log; wc -l < log") for _ in range(2)]
    same = [await bench.bash(sandbox, command) for command in ("echo 2", "echo 2", "echo 2; exit 1")]

    assert polls[0].digest != polls[1].digest == same[0].digest == same[1].digest != same[2].digest


async def test_a_section_of_the_guide_is_kept_and_rewritten(bench: Bench):
    """The newest text of a section stands."""
    sandbox = await bench.create()
    await bench.use(sandbox, "document", {"section": "faq", "content": "old"})
    await bench.use(sandbox, "document", {"section": "faq", "content": "new"})

    async with bench.engine.connect() as connection:
        query = select(documents.c.content).where(documents.c.build_id == bench.build_id)
        assert (await connection.execute(query)).scalars().all() == ["new"]
    assert (await types_of(bench)).count("documentation.updated") == 2


async def test_a_late_attempt_at_a_document_does_not_bring_the_old_text_back(bench: Bench):
    """A call that has its result writes nothing more, as a newer text may stand there since."""
    sandbox = await bench.create()
    head = await bench.reply(("t1", "document", {"section": "faq", "content": "old"}))
    await bench.run(sandbox, head, "t1", "document")
    await bench.use(sandbox, "document", {"section": "faq", "content": "new"})

    late = {"section": "faq", "content": "old", "unless_answered": (head, "t1")}
    await Progress(bench.engine).write_document(bench.build_id, **late)

    async with bench.engine.connect() as connection:
        query = select(documents.c.content).where(documents.c.build_id == bench.build_id)
        assert ["new"] == list((await connection.execute(query)).scalars())


async def test_each_call_is_told_once(bench: Bench):
    """Watchers see a call's name, label and the start of its result, once over retries."""
    sandbox = await bench.create()
    head = await bench.reply(("t1", "bash", {"command": "echo hi"}))
    await bench.run(sandbox, head, "t1", "bash")
    await bench.run(sandbox, head, "t1", "bash")

    (event,) = await bench.events.read(bench.build_id)
    assert event.fields["tool_name"] == "bash"
    assert str(event.fields["tool_summary"]).strip() == "hi"


def blind(bench: Bench) -> Bench:
    """The bench of a worker whose machine has no browser."""
    screenshots = Screenshots(bench.objects, bench.workspace)
    screenshots._browser = None
    tools = Tools(
        bench.workspace,
        bench.transcript,
        captures=bench.captures,
        screenshots=screenshots,
        progress=Progress(bench.engine),
        events=bench.events,
    )
    return replace(bench, tools=tools)


async def serving(bench: Bench, page: str = PAGE, *, browser: str | None = None) -> SandboxRef:
    """A sandbox with an app on port 8000, and with this script, or nothing, in place of its browser."""
    sandbox = await bench.create()
    await bench.use(sandbox, "write_file", {"path": "index.html", "content": page})
    await bench.use(sandbox, "bash", {"command": "python3 -m http.server $PORT", "background": True})
    await _answers(bench, sandbox)
    if browser is not None:
        programs = "$(command -v sh bash cat rm python3)"
        hide = f"mkdir ~/bin && ln -s {programs} ~/bin && echo 'PATH=~/bin' > ~/.profile"
        add = f"echo '{browser}' > ~/bin/chromium; chmod +x ~/bin/chromium" if browser else "true"
        assert not (await bench.bash(sandbox, f"{hide}; {add}")).is_error
    return sandbox


async def looked(bench: Bench, sandbox: SandboxRef) -> tuple[ToolOutcome, list[dict]]:
    """Take a screenshot of the app; gives the outcome and the blocks that the model is sent."""
    head = await bench.reply(("t1", "take_screenshot", {}))
    outcome = await bench.run(sandbox, head, "t1", "take_screenshot")
    assert not outcome.is_error, outcome.preview
    return outcome, (await result_of(bench, head, "t1"))["content"]


async def require_images(bench: Bench, blocks: list[dict]) -> None:
    """Both images are in the result as what they say they are, and in the bucket."""
    assert ["text", "image", "image"] == [block["type"] for block in blocks]
    assert {"image/webp"} == {block["source"]["media_type"] for block in blocks[1:]}
    assert all(base64.b64decode(block["source"]["data"])[8:12] == b"WEBP" for block in blocks[1:])
    *about, desktop, mobile = blocks[0]["text"].splitlines()
    lines = [desktop, mobile]
    assert all(" HTTP 200, title 'Hi', it reads 'Hello', " in line for line in about)
    assert all("console error" in line and "Error: odd" in line for line in about)
    assert ["desktop: 1280x800", "mobile: 390x844"] == [line.partition(",")[0] for line in lines]
    assert all([await bench.objects.size(line.rpartition(" ")[2]) for line in lines])


async def test_without_any_browser_a_screenshot_says_how_to_add_one(bench: Bench):
    """Neither in the sandbox nor where the worker runs: an error result, not a failure."""
    sandbox = await serving(bench, browser="")

    outcome = await blind(bench).use(sandbox, "take_screenshot", {})

    assert outcome.is_error
    assert outcome.preview.startswith("The sandbox has no browser. No browser is installed where the worker")


@pytest.mark.skipif(find_browser() is None, reason="no Chromium on this machine")
async def test_the_sandboxs_own_browser_shows_the_app_on_two_screens(bench: Bench):
    """The worker needs none; history gets a line and no image."""
    sandbox = await serving(bench)

    outcome, blocks = await looked(blind(bench), sandbox)

    await require_images(bench, blocks)
    assert len(outcome.model_dump_json()) < 1_000


@pytest.mark.skipif(find_browser() is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("browser", ["", "#!/bin/sh\nexit 1"], ids=["missing", "broken"])
async def test_without_the_sandboxs_browser_the_workers_looks_from_outside(bench: Bench, browser: str):
    """The images are the same; the neighbours of the worker's machine are out of the page's reach."""
    async with _neighbour() as (address, visitors):
        page = f"{PAGE}<img src='{address}/img'><script src='{address}/script'></script>"
        sandbox = await serving(bench, page, browser=browser)

        _, blocks = await looked(bench, sandbox)

    await require_images(bench, blocks)
    assert visitors == []


async def test_a_page_that_is_not_there_is_an_error_result(bench: Bench):
    """Nothing listens: the model is told what does, and what to do; the activity does not fail."""
    sandbox = await bench.create()

    outcome = await bench.use(sandbox, "take_screenshot", {})

    assert outcome.is_error
    assert outcome.preview.startswith("Nothing answers on port 8000 in the sandbox. Open ports: ")
    assert outcome.preview.endswith("Start the app in the background first, or name its port.")


async def test_an_image_of_the_workspace_is_shown_as_a_screenshot_is(bench: Bench):
    """The model sees it, the bucket keeps it, and history gets a line."""
    sandbox = await bench.create()
    await bench.client.write(sandbox.sandbox_id, f"{sandbox.workspace}/logo.png", png())
    head = await bench.reply(("t1", "read_file", {"path": "logo.png"}))
    outcome = await bench.run(sandbox, head, "t1", "read_file")
    text, image = (await result_of(bench, head, "t1"))["content"]

    assert text["text"].startswith(f"logo.png: image/png, 3x2, {len(png())} bytes, kept as screenshots/")
    assert await bench.objects.size(text["text"].rpartition(" ")[2]) == len(png())
    assert ("image/png", png()) == (image["source"]["media_type"], base64.b64decode(image["source"]["data"]))
    assert len(outcome.model_dump_json()) < 1_000


async def test_what_a_command_promises_can_be_read(bench: Bench):
    """The whole of a long output and a background job's log are read by the paths that the results name."""
    sandbox = await bench.create()
    head = await bench.reply(("t1", "bash", {"command": "seq 100000"}))
    await bench.run(sandbox, head, "t1", "bash")
    text = (await result_of(bench, head, "t1"))["content"]
    path = text.partition("the whole output is in ")[2].partition(" …]")[0]
    read = await bench.use(sandbox, "read_file", {"path": path, "offset": 50_000, "limit": 1})
    found = await bench.use(sandbox, "grep", {"pattern": "^50001$", "path": path, "mode": "count"})
    job = await bench.use(sandbox, "bash", {"command": "echo ready; sleep 600", "background": True})
    log = job.preview.partition("Its output goes to ")[2].partition(": read")[0]
    logged = await bench.use(sandbox, "read_file", {"path": log})
    stopped = await bench.bash(sandbox, f"tail -1 {log}; {job.preview.rpartition('Stop it with: ')[2]}")

    assert read.preview.startswith(" 50000\t50000")
    assert found.preview == f"{path}:1"
    assert logged.preview == "     1\tready"
    assert (stopped.preview, stopped.is_error) == ("ready", False)


@asynccontextmanager
async def _neighbour() -> AsyncIterator[tuple[str, list[str]]]:
    """A service of the worker's machine that trusts whoever reaches it; notes who came."""
    visitors: list[str] = []

    async def welcome(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visitors.append((await reader.readline()).decode())
        writer.close()

    server = await asyncio.start_server(welcome, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}", visitors


async def _until(bench: Bench, sandbox: SandboxRef, name: str) -> None:
    async with asyncio.timeout(30):
        while not await _has(bench, sandbox, name):
            await asyncio.sleep(0.05)


async def _has(bench: Bench, sandbox: SandboxRef, name: str) -> bool:
    try:
        return bool(await bench.client.read(sandbox.sandbox_id, f"{sandbox.workspace}/{name}"))
    except FileNotFoundError:
        return False


async def _answers(bench: Bench, sandbox: SandboxRef) -> None:
    async with asyncio.timeout(30):
        probe = "python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 8000))'"
        while (await bench.bash(sandbox, probe)).is_error:
            await asyncio.sleep(0.1)


async def test_what_runs_in_the_background_is_told_with_each_changing_call(bench: Bench):
    """So that the model can be told by name what a lost sandbox or a pause ended."""
    sandbox = await bench.create()
    before = await bench.bash(sandbox, "echo x > f")
    serve = await bench.use(sandbox, "bash", {"command": "sleep 300 # serve", "background": True})
    wrote = await bench.use(sandbox, "write_file", {"path": "g", "content": "x"})
    killed = await bench.bash(sandbox, "pkill sleep; sleep 0.1")

    assert [(), ("sleep 300 # serve",), ("sleep 300 # serve",), ()] == [
        each.running for each in (before, serve, wrote, killed)
    ]
