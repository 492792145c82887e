"""A word of the founder that meets an outage, on the real server: the skipping one tries the step again."""

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment

from starter.connect import connect
from starter.local.parts import Part
from starter.local.stack import open_stack
from tests.fakes import Gate, World, acts, call, done
from tests.handles import ready, until_event
from tests.held_stack import ROOT
from tests.workflow.conftest import working
from workflows import guard
from workflows.errors import FailureType


@pytest.fixture
async def server() -> AsyncIterator[WorkflowEnvironment]:
    directory = Path(tempfile.mkdtemp(prefix="nightshift-test-"))
    async with open_stack(ROOT, data=directory, parts=frozenset({Part.TEMPORAL}), environment={}) as stack:
        yield WorkflowEnvironment.from_client(await connect(stack.environment))
    shutil.rmtree(directory)


@pytest.mark.parametrize("step", ["call_model", "run_tool"])
async def test_an_outage_as_the_founder_speaks_ends_no_build(server, step):
    """An attempt that fails once it is cancelled is not made again: it was cut short, whatever it says."""
    gate, passing = Gate(deaf=True), ApplicationError("It is asked again.", type=FailureType.RETRYABLE)
    world = World(gates={step: [gate]}, faults={step: [passing]})
    world.replies = iter([acts(call("bash", "one")), done()])
    async with working(server, world) as bench:
        handle = await bench.start()
        await gate.reached.wait()
        await handle.signal("steer", "use blue")
        await until_event(handle, "activity_task_cancel_requested")
        gate.opened.set()
        await ready(handle)

    assert ["[founder] use blue"] in [list(one.notes) for one in world.asked]
    assert ([guard.CUT_SHORT] if step == "run_tool" else [""]) == [run.refuse for run in world.tools]
