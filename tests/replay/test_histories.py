"""Builds that began under yesterday's code go on under today's: recorded histories replay."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.workflow import NondeterminismError

from tests.histories import replay
from tests.record_histories import FOLDER, SCENARIOS, SCRUBBED, scrub

FILES = sorted(FOLDER.glob("*.json"))
LARGEST = 150_000
"""Bytes of a recorded history."""


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
async def test_replays(file: Path):
    """Today's code gives the commands that were recorded, in their order."""
    await replay(WorkflowHistory.from_json(file.stem, file.read_text()))


@pytest.mark.parametrize("seconds", [2, 60])
async def test_replays_under_another_heartbeat_timeout(seconds: int):
    """A setting of the worker may change while builds run."""
    history = WorkflowHistory.from_json("changed", (FOLDER / "changed.json").read_text())

    await replay(history, heartbeat_timeout=timedelta(seconds=seconds))


def test_every_scenario_is_recorded():
    """A scenario without a history would hold nothing."""
    assert set(SCENARIOS) == {file.stem.split("-")[0] for file in FILES}


async def test_another_order_is_noticed():
    """The replay fails when a command differs from the recorded one."""
    text = (FOLDER / "plain.json").read_text().replace('"take_snapshot"', '"record_cost"', 1)

    with pytest.raises(NondeterminismError):
        await replay(WorkflowHistory.from_json("plain", text))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_histories_are_small_and_name_no_machine(file: Path):
    """They are read by people and committed."""
    text = file.read_text()

    assert len(text) < LARGEST
    assert str(FOLDER.parent) not in text
    assert json.loads(text) == scrub(json.loads(text))
    assert SCRUBBED["identity"] in text
