"""The rules of `activities/checks.py`, in real sandboxes."""

from dataclasses import replace
from datetime import timedelta

import httpx2
import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.checks import Checks
from activities.screenshots import Screenshots
from tests.contract.conftest import Bench
from workflows.errors import FailureType
from workflows.files import ProofReport, ProofStep, SandboxRef

APP = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response({status})
        self.end_headers()
        self.wfile.write(b"hello")
print("serving", flush=True)
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


async def sandbox_with(bench: Bench, **files: str) -> SandboxRef:
    sandbox = await bench.create(role="check")
    for name, text in files.items():
        path = f"{sandbox.workspace}/{name.replace('__', '/').replace('_DOT_', '.')}"
        await bench.client.write(sandbox.sandbox_id, path, text.encode())
    return sandbox


async def run(bench: Bench, step: str, sandbox: SandboxRef, **fields: object) -> ProofReport:
    request = ProofStep.model_validate(
        {"build_id": bench.build_id, "sandbox": sandbox, "attempt": 1, **fields}
    )
    return await ActivityEnvironment().run(getattr(bench.checks, step), request)


def hasty(bench: Bench) -> Bench:
    """The bench with checks that wait three seconds for an app."""
    checks = Checks(
        bench.workspace,
        Screenshots(bench.objects, bench.workspace),
        time=bench.checks._time,
        patience=timedelta(seconds=3),
    )
    return replace(bench, checks=checks)


async def test_nothing_to_install_passes(bench: Bench):
    """A project without a list of dependencies needs none."""
    report = await run(bench, "install_dependencies", await sandbox_with(bench))

    assert report.passed


async def test_setup_and_requirements_are_run_in_order(bench: Bench):
    """setup.sh comes first; requirements.txt goes into a virtual environment of the project."""
    sandbox = await sandbox_with(
        bench, setup_DOT_sh="echo ran > from-setup", requirements_DOT_txt="# nothing to fetch\n"
    )

    report = await run(bench, "install_dependencies", sandbox)
    listed = await bench.bash(sandbox, "cat from-setup; ls .venv/bin/python")

    assert report.passed, report.report
    assert "2 passed" in report.summary
    assert listed.preview.split() == ["ran", ".venv/bin/python"]


async def test_a_failed_install_is_a_report_for_the_model(bench: Bench):
    """The command, what it printed, and nothing raised."""
    sandbox = await sandbox_with(bench, setup_DOT_sh="echo cannot find libfoo; exit 4")

    report = await run(bench, "install_dependencies", sandbox)

    assert not report.passed
    assert "setup.sh" in report.summary
    assert "cannot find libfoo" in report.report


async def test_a_step_is_run_once_however_often_it_is_asked(bench: Bench):
    """A retried activity gets the first attempt's report; a new proof runs anew."""
    sandbox = await sandbox_with(bench)

    command = "echo x >> ran; wc -l < ran"
    first = await run(bench, "run_checks", sandbox, checks=[command])
    again = await run(bench, "run_checks", sandbox, checks=[command])
    await run(bench, "run_checks", sandbox, checks=[command], attempt=2)

    assert first == again
    assert (await bench.bash(sandbox, "wc -l < ran")).preview.strip() == "2"


async def test_the_plans_checks_replace_those_found(bench: Bench):
    """Commands of the plan are run as they are, up to the first that fails."""
    sandbox = await sandbox_with(bench, test_a_DOT_py="this is no python")

    report = await run(bench, "run_checks", sandbox, checks=["true", "echo no; false", "touch never"])

    assert not report.passed
    assert report.report.startswith("passed: true\nfailed: echo no; false")
    assert "never" not in (await bench.bash(sandbox, "ls")).preview


@pytest.mark.parametrize(
    ("body", "passed"), [("self.assertEqual(1, 1)", True), ("self.fail('wrong')", False)]
)
async def test_python_tests_are_found_and_run(bench: Bench, body: str, *, passed: bool):
    """A project with tests is judged by them."""
    test = f"import unittest\nclass T(unittest.TestCase):\n    def test_it(self):\n        {body}\n"
    sandbox = await sandbox_with(bench, test_it_DOT_py=test)

    report = await run(bench, "run_checks", sandbox)

    assert passed == report.passed
    assert passed or "wrong" in report.report


async def test_python_without_tests_must_compile(bench: Bench):
    """The least that is asked of a program."""
    report = await run(bench, "run_checks", await sandbox_with(bench, app_DOT_py="def broken(:\n"))

    assert not report.passed
    assert "SyntaxError" in report.report


async def test_an_app_that_answers_has_a_preview(bench: Bench):
    """The start command found in the files serves on $PORT, seen from outside."""
    sandbox = await sandbox_with(bench, app_DOT_py=APP.format(status=200))

    report = await run(bench, "start_preview", sandbox)
    again = await run(bench, "start_preview", sandbox)
    async with httpx2.AsyncClient(trust_env=False) as client:
        answer = await client.get(report.preview_url)

    assert report.passed, report.report
    assert (report.passed, report.preview_url) == (again.passed, again.preview_url)
    assert answer.text == "hello"


async def test_an_app_that_ends_at_once_is_reported_with_its_output(bench: Bench):
    """The model sees why."""
    sandbox = await sandbox_with(bench, app_DOT_py="raise RuntimeError('no database')")

    report = await run(bench, "start_preview", sandbox)

    assert not report.passed
    assert "no database" in report.report


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ("python3 app.py", "answered 500"),
        ("PORT=8123 python3 app.py", "8123"),
        ("echo waiting; sleep 100", "waiting"),
    ],
)
async def test_an_app_that_does_not_answer_is_reported(bench: Bench, start: str, said: str):
    """Server errors, another port, silence: the report says what was seen and the log's tail."""
    bench = hasty(bench)
    sandbox = await sandbox_with(bench, app_DOT_py=APP.format(status=500))

    report = await run(bench, "start_preview", sandbox, start=start)

    assert not report.passed
    assert said in report.report
    assert len(report.report) <= 4_000


async def test_another_sandboxes_app_is_not_taken_for_this_one(bench: Bench):
    """An old build that listens on the same port proves nothing here."""
    bench = hasty(bench)
    old = await bench.create()
    await bench.client.write(old.sandbox_id, f"{old.workspace}/app.py", APP.format(status=200).encode())
    await bench.use(old, "bash", {"command": "python3 app.py", "background": True})

    report = await run(bench, "start_preview", await sandbox_with(bench), start="sleep 100")

    assert not report.passed
    assert "Nothing listens" in report.report


async def test_nothing_to_start_is_said(bench: Bench):
    """The report names what would have been started."""
    report = await run(bench, "start_preview", await sandbox_with(bench))

    assert not report.passed
    assert "$PORT" in report.report


async def test_a_dead_sandbox_is_no_failed_check(bench: Bench):
    """The provider's fault is raised: the model did nothing wrong."""
    sandbox = await sandbox_with(bench)
    await bench.client.kill(sandbox.sandbox_id)

    with pytest.raises(ApplicationError) as caught:
        await run(bench, "run_checks", sandbox, checks=["true"])

    assert caught.value.type == FailureType.SANDBOX_LOST
