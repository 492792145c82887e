"""Timeouts, heartbeats and retry policies: one named constant an activity.

Recovery from a killed worker takes one heartbeat timeout, so heartbeats are short. No schedule-to-close
timeout on the model: an outage of hours is waited out.
"""

from datetime import timedelta
from typing import TypedDict

from temporalio.common import RetryPolicy

from workflows.errors import TOO_LARGE

HEARTBEAT = timedelta(seconds=3.5)
"""How long a killed worker goes unnoticed, unless its settings say otherwise: see `heartbeats.py`."""

WORKFLOW_TASK = timedelta(seconds=3)
"""How long a step of the workflow itself that a killed worker held stays lost; the default is 10 seconds.

Another worker must replay a run within it: see RUN_EVENTS in `build.py`.
"""

PATIENT = RetryPolicy(
    initial_interval=timedelta(seconds=0.25),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(minutes=1),
    non_retryable_error_types=TOO_LARGE,
)
"""Waits out an outage; only a fatal failure ends it."""


class Options(TypedDict):
    """What every call of an activity is given, beside its summary."""

    start_to_close_timeout: timedelta
    heartbeat_timeout: timedelta
    retry_policy: RetryPolicy


def _config(limit: timedelta) -> Options:
    return Options(start_to_close_timeout=limit, heartbeat_timeout=HEARTBEAT, retry_policy=PATIENT)


PREPARE_BUILD = _config(timedelta(minutes=1))
RECORD_STATUS = _config(timedelta(seconds=30))
FINISH_BUILD = _config(timedelta(seconds=30))
RECORD_COST = _config(timedelta(seconds=30))
ADD_MONEY = _config(timedelta(seconds=30))
WAKE_BUILDS = _config(timedelta(minutes=5))
CHOOSE_MODEL = _config(timedelta(seconds=30))
FIND_RESTORE_POINT = _config(timedelta(seconds=30))
REWIND_BUILD = _config(timedelta(minutes=2))
CALL_MODEL = _config(timedelta(hours=1))
RUN_TOOL = _config(timedelta(minutes=20))
CREATE_SANDBOX = _config(timedelta(minutes=15))
PAUSE_SANDBOX = _config(timedelta(minutes=5))
CONNECT_SANDBOX = _config(timedelta(minutes=5))
KILL_SANDBOX = _config(timedelta(minutes=2))
TAKE_SNAPSHOT = _config(timedelta(minutes=30))
INSTALL_DEPENDENCIES = _config(timedelta(minutes=30))
RUN_CHECKS = _config(timedelta(minutes=30))
START_PREVIEW = _config(timedelta(minutes=5))
SERVE_PREVIEW = _config(timedelta(minutes=5))
FIND_ENDED = _config(timedelta(minutes=5))
CLEAR_BUILD = _config(timedelta(minutes=5))
SWEEP_SANDBOXES = _config(timedelta(minutes=10))
PRUNE_FILES = _config(timedelta(minutes=30))
