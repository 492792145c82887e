"""What a person types: the demo, the starter's commands, the stock Temporal CLI."""

import asyncio
import json
import os
import sys
import urllib.request

import pytest
from sqlalchemy import text
from temporalio.client import WorkflowFailureError

from starter.attach import DATA_VARIABLE
from tests.e2e.conftest import run
from tests.sandbox_server import free_port

STATUS_RUNS = 100
SIDE_BY_SIDE = 2


@pytest.mark.timeout(600)
async def test_demo_twice(tmp_path_factory):
    """The demo starts everything, ends with status 0 and READY, twice; the second makes build_v0_2."""
    data = tmp_path_factory.mktemp("demo")
    first, second = [await _demo(data) for _ in range(2)]

    assert ("READY", 200, "build_v0_1") == tuple(
        first[k] for k in ("status", "preview_status", "build_version")
    )
    assert ("READY", 200, "build_v0_2") == tuple(
        second[k] for k in ("status", "preview_status", "build_version")
    )
    assert first["turns"] >= 15
    assert first["spent_microdollars"] > 0
    assert set(first) >= {"workflow_id", "run_id", "preview_url", "sandbox_id", "snapshot_key", "web_ui"}


async def test_a_demo_with_a_wrong_key_says_what_to_mend(everything, tmp_path_factory):
    """It ends with status 1 and what to do, without the key, and does not wait for ever."""
    wrong = {
        DATA_VARIABLE: str(tmp_path_factory.mktemp("wrong")),
        "ANTHROPIC_API_KEY": "sk-ant-wrong",
        "ANTHROPIC_BASE_URL": everything.environment["ANTHROPIC_BASE_URL"],
    }
    code, output = await run([sys.executable, "-m", "starter", "demo", "--json"], wrong)

    assert 1 == code, output
    assert "FAILED" in output
    assert "Mend the key" in output
    assert "sk-ant-wrong" not in output


async def test_a_setting_of_the_environment_reaches_the_worker(tmp_path_factory):
    """The kill switch in the environment stops the demo, whose last line says so as JSON."""
    off = {DATA_VARIABLE: str(tmp_path_factory.mktemp("off")), "AUTONOMOUS_AGENT": "false"}
    code, output = await run([sys.executable, "-m", "starter", "demo", "--json"], off)

    told = json.loads(output.splitlines()[-1])
    assert (1, "FAILED", "AgentDisabled") == (code, told["status"], told["outcome"]), output
    assert told["workflow_id"]


async def test_a_demo_ends_before_its_worker_where_a_part_is_away(tmp_path_factory):
    """Each such part is told with its setting, without a traceback and without its password."""
    away = {
        DATA_VARIABLE: str(tmp_path_factory.mktemp("away")),
        "DATABASE_URL": "postgres://me:hunter2@127.0.0.1:1/x",
        # On a port from 1024 on, as sandboxes do not reach another, which is told before parts are tried.
        "AWS_ENDPOINT_URL_S3": f"http://me:hunter2@127.0.0.1:{free_port()}",
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "hunter2",
        "TEMPORAL_ADDRESS": "127.0.0.1:1",
    }
    code, output = await run([sys.executable, "-m", "starter", "demo"], away)

    assert 1 == code, output
    for part, name in (
        ("postgres", "DATABASE_URL"),
        ("s3", "AWS_ENDPOINT"),
        ("temporal", "TEMPORAL_ADDRESS"),
    ):
        assert f"\n{part}: real at " in f"\n{output}"
        assert name in output
    assert not [word for word in ("hunter2", "Traceback", "worker.log") if word in output]


@pytest.mark.parametrize("command", ["demo", "up", "doctor"])
async def test_a_wrong_setting_is_told_in_a_line(everything, command):
    """Its name, its value, and what is allowed, before anything is started."""
    wrong = {DATA_VARIABLE: str(everything.data), "AUTONOMOUS_AGENT": "perhaps"}
    code, output = await run([sys.executable, "-m", "starter", command], wrong)

    assert 1 == code
    assert "AUTONOMOUS_AGENT is 'perhaps': it can be true or false." in output
    assert "Traceback" not in output


async def _demo(data) -> dict:
    code, output = await run([sys.executable, "-m", "starter", "demo", "--json"], {DATA_VARIABLE: str(data)})
    assert code == 0, output
    return json.loads(output.splitlines()[-1])


@pytest.mark.usefixtures("worker")
async def test_stock_cli_starts_a_build(everything):
    """The Temporal CLI alone starts a build, reads its status and gets its result."""
    code, output = await everything.temporal(
        "workflow", "start", "--type", "BuildWorkflow", "--task-queue", "builds",
        "--workflow-id", "my-first", "--input", '{"idea": "a habit tracker [[script:long turns=2]]"}',
    )  # fmt: skip
    assert code == 0, output
    code, output = await everything.temporal("workflow", "result", "--workflow-id", "my-first", "-o", "json")
    assert code == 0, output
    code, status = await everything.starter("status", "my-first", "--json")

    result = json.loads(output)["result"]
    assert "READY" == result["status"]
    assert "build_v0_1" == result["build_version"]
    assert (0, "READY") == (code, json.loads(status.splitlines()[-1])["status"])
    with urllib.request.urlopen(result["preview_url"]) as page:
        assert 200 == page.status
        assert b"Hello" in page.read()


async def test_fetch_gets_nothing_twice(everything):
    """Once the programs are there, getting them says nothing and costs nothing."""
    assert (0, "") == await everything.starter("fetch")


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ('{"ideas": "x"}', "ideas"),
        ('"x"', "one JSON object"),
        ('{"idea": "\\u0000"}', None),
        ('{"idea": "\\ud800 [[script:idle]]"}', None),
        ('{"project": "nobody-knows"}', "project"),
    ],
)
@pytest.mark.usefixtures("worker")
async def test_bad_input_never_hangs(everything, given, word):
    """Whatever JSON the CLI sends, the run ends or goes on; a wrong field is named at once."""
    workflow_id = f"bad-{abs(hash(given))}"
    await everything.temporal(
        "workflow", "start", "--type", "BuildWorkflow", "--task-queue", "builds",
        "--workflow-id", workflow_id, "--input", given,
    )  # fmt: skip
    handle = everything.client.get_workflow_handle(workflow_id)
    if word is None:
        await _until_prepared(handle)
        await handle.terminate()
        return
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()

    assert "InvalidBuildRequest" == caught.value.cause.type
    assert word in caught.value.cause.message


async def _until_prepared(handle) -> None:
    async with asyncio.timeout(60):
        while (await handle.query("status"))["stage"] == "STARTING":
            await asyncio.sleep(0.05)


WRONG_UPDATES = (
    ("add_budget", "-5", "adds nothing"),
    ("add_budget", "0", "adds nothing"),
    ("add_budget", "1" + "0" * 30, "cannot be added at once"),
    ("add_budget", "1e30", "no whole number"),
    ("add_budget", "2.5", "no whole number"),
    ("add_budget", '"5"', "no whole number"),
    ("add_budget", "null", "no whole number"),
    ("set_model", '"gpt-9"', "Choose one of: claude-haiku-5-5"),
    ("set_model", '"claude-2"', "Choose one of: claude-haiku-5-5"),
    ("set_model", "5", "give the id of a model as a text"),
    ("set_limit", '{"max_tool_calls": -1}', "max_tool_calls"),
)
MONEY = "SELECT coalesce(sum(added), 0) FROM days WHERE user_id = 'careful'"


@pytest.mark.usefixtures("worker")
async def test_wrong_updates_by_the_stock_cli_change_nothing(everything, database):
    """Each fails with the reason, which stands in the build's details too; an ended build takes none."""
    request = {"idea": "x", "user": "careful"}
    handle = await everything.client.start_workflow(
        "BuildWorkflow", request, id="careful", task_queue="builds", start_signal="pause"
    )
    async with asyncio.timeout(60):
        while (before := await handle.query("status"))["status"] != "PAUSED":
            await asyncio.sleep(0.05)
    answers = [(await _update(everything, name, given), word) for name, given, word in WRONG_UPDATES[:-1]]
    details = await handle.query("__temporal_workflow_metadata")
    limit = await _update(everything, *WRONG_UPDATES[-1][:2])
    after = await handle.query("status")
    await handle.terminate()
    late = await _update(everything, "add_budget", "5000000")
    async with database.connect() as connection:
        added = (await connection.execute(text(MONEY))).scalar_one()

    for (code, told), word in [*answers, (limit, WRONG_UPDATES[-1][2])]:
        assert (1, True) == (code, word in told), told
    assert f"refused: model: {WRONG_UPDATES[-2][2]}" in str(details)
    assert (before, 0) == (after, added)
    assert (1, True) == (late[0], "already completed" in late[1]), late


async def _update(everything, name: str, given: str) -> tuple[int, str]:
    return await everything.temporal(
        "workflow", "update", "execute", "--workflow-id", "careful", "--name", name, "--input", given
    )


async def test_bytes_that_are_no_text_are_taken(everything):
    """What a shell hands over in another encoding ends in a line, not in a traceback."""
    code, output = await everything.starter("status", os.fsdecode(b"caf\xe9"))

    assert (1, False) == (code, "Traceback" in output)
    assert "There is no such build" in output


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("worker")
async def test_starter_ends_cleanly_a_hundred_times(everything):
    """`starter status` ends with status 0 each time: no crash while the interpreter exits."""
    handle = await everything.client.start_workflow(
        "BuildWorkflow", {"idea": "x"}, id="idle", task_queue="builds", start_signal="pause"
    )
    limit = asyncio.Semaphore(SIDE_BY_SIDE)

    async def status() -> int:
        async with limit:
            return (await everything.starter("status", "idle"))[0]

    codes = await asyncio.gather(*(status() for _ in range(STATUS_RUNS)))
    await handle.terminate()

    assert [0] * STATUS_RUNS == codes


async def test_doctor_tells_each_part_and_no_secret(everything):
    """The doctor names each part, that it stands in and answers; it never prints a key."""
    code, output = await everything.starter("doctor")

    assert 0 == code
    for part in ("postgres", "redis", "s3", "temporal", "sandbox", "model"):
        assert part in output
    for name in ("ANTHROPIC_API_KEY", "E2B_API_KEY", "AWS_SECRET_ACCESS_KEY"):
        assert everything.environment[name] not in output
