from datetime import timedelta

import pytest

from activities.heartbeat import BEAT
from workflows import options, ports
from workflows.errors import FATAL, FailureType

CONFIGS = {name: one for name, one in vars(options).items() if name.isupper() and isinstance(one, dict)}
PROMISED = sorted(
    method
    for one in vars(ports).values()
    if isinstance(one, type)
    for method in getattr(one, "__abstractmethods__", ())
)
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


@pytest.mark.parametrize("kind", FailureType)
def test_every_failure_is_fatal_but_the_passing_one(kind: FailureType):
    """A new failure type is fatal unless it says that it is retryable."""
    assert (kind is not FailureType.RETRYABLE) == (
        kind.value in (options.PATIENT.non_retryable_error_types or ())
    )


def test_too_large_payloads_are_fatal():
    """They would be retried for ever: the next try is as large."""
    assert {"PayloadsTooLarge", "PayloadSizeError"} <= set(FATAL)
