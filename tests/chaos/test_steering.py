"""A build that says it is paused is held to the sandbox that it says it works in."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from starter.local.home import Home
from starter.local.parts import Part
from starter.local.ports import Ports
from starter.local.processes import started_at
from starter.local.sandbox.records import Record, RecordStore, State
from tests.chaos.parts import Parts
from tests.chaos.sandboxes import is_awake
from tests.chaos.steering import Steerer

NOW = datetime(2026, 11, 26, tzinfo=UTC)
MINE = (os.getpid(), int(started_at(os.getpid())))
"""A process that runs."""
NOBODY = (2**22 + 1, 1)
"""One that never did: no process id is above 2**22."""


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    """A stack of which nothing was started."""
    return Parts(Home.open(tmp_path), Ports(tmp_path / "ports.json"))


def keep(parts: Parts, sandbox_id: str, state: State, process: tuple[int, int] | None) -> None:
    """Write what the sandbox server keeps of a sandbox of generation 1."""
    record = Record(
        sandbox_id=sandbox_id,
        template_id="base",
        started_at=NOW,
        end_at=NOW,
        timeout=60,
        state=state,
        access_token="-",
        metadata={"build": "b", "role": "build", "generation": "1"},
        process=process,
    )
    RecordStore(parts.home.part(Part.SANDBOX) / "sandboxes").add(record)


@pytest.mark.parametrize(
    ("state", "process", "awake"),
    [
        (State.RUNNING, MINE, True),
        (State.RUNNING, NOBODY, False),
        (State.RUNNING, None, False),
        (State.PAUSED, MINE, False),
    ],
)
def test_a_sandbox_is_awake_that_runs(parts: Parts, state: State, process: tuple[int, int], *, awake: bool):
    """Neither one that was killed, nor one that is frozen."""
    keep(parts, "own", state, process)

    assert awake is is_awake(parts, "b", "own")


def test_a_stray_of_the_same_generation_is_not_taken_for_the_builds_own(parts: Parts):
    """A creation whose answer was lost left a sandbox that runs, until the sweep finds it."""
    keep(parts, "stray", State.RUNNING, MINE)
    keep(parts, "own", State.PAUSED, MINE)

    assert not is_awake(parts, "b", "own")
    assert is_awake(parts, "b", "stray")
    assert not is_awake(parts, "b", "")


def test_a_sandbox_that_ran_through_a_pause_is_a_problem():
    """It is paid for, and what it still writes may be lost."""
    steerer = Steerer(None, None, None, None, seed=1, builds=list)
    assert [] == steerer.problems()

    steerer.awake.append("own")
    assert ["sandbox own ran while its build was paused"] == steerer.problems()
