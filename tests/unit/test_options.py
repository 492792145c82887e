import ast
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from activities.heartbeat import BEAT
from workflows import options, ports

CONFIGS = {name: one for name, one in vars(options).items() if name.isupper() and isinstance(one, dict)}
PROMISED = sorted(
    method
    for one in vars(ports).values()
    if isinstance(one, type)
    for method in getattr(one, "__abstractmethods__", ())
)
ACTIVITIES = Path(__file__).parents[2] / "activities"
UNHEARD = timedelta(seconds=4)
"""The longest that an activity may be silent."""


def test_each_activity_has_its_own_constant():
    """One named constant an activity: none missing, none left over."""
    assert PROMISED == sorted(name.lower() for name in CONFIGS)


@pytest.mark.parametrize("name", CONFIGS)
def test_each_call_has_a_limit_and_the_patient_policy(name: str):
    """Temporal waits for nothing without an end, and retries on its own."""
    config = CONFIGS[name]

    assert timedelta(0) < config["start_to_close_timeout"]
    assert options.PATIENT is config["retry_policy"]
    assert options.Options.__required_keys__ == set(config)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_killed_worker_is_noticed_soon(name: str):
    """Whatever it was doing: recovery is timeouts, so each activity beats, several times within its limit."""
    assert CONFIGS[name]["heartbeat_timeout"] <= UNHEARD
    assert 3 * BEAT <= CONFIGS[name]["heartbeat_timeout"]


def test_an_outage_is_waited_out():
    """No number of tries ends a build, and the pauses between them stay short enough to notice the end."""
    assert 0 == options.PATIENT.maximum_attempts
    assert options.PATIENT.maximum_interval is not None
    assert options.PATIENT.maximum_interval <= timedelta(minutes=1)


def test_too_large_payloads_are_fatal():
    """They would be retried for ever: the next try is as large."""
    assert {"PayloadsTooLarge", "PayloadSizeError"} == set(options.PATIENT.non_retryable_error_types or ())


def raised(source: str) -> Iterator[tuple[str, bool]]:
    """The type of each failure that a file makes, and whether it is not to be retried."""
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "ApplicationError"
        ):
            told = {one.arg: ast.unparse(one.value) for one in node.keywords}
            yield told["type"], told.get("non_retryable") == "True"


def test_every_failure_says_itself_whether_it_is_retried():
    """Only the provider's passing fault is: each other one is made as not to be retried."""
    found = [one for file in sorted(ACTIVITIES.glob("*.py")) for one in raised(file.read_text())]

    assert len(found) > 15
    assert [] == [kind for kind, fatal in found if fatal == (kind == "FailureType.RETRYABLE")]
