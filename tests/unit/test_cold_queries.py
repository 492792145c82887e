"""A run that a query took ahead of its workflow tasks is replayed before it goes on."""

import pytest
from temporalio.bridge.proto.workflow_activation import WorkflowActivation, WorkflowActivationJob
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.converter import SerializationContext, StorageDriverStoreContext
from temporalio.worker import WorkflowInstance
from temporalio.worker._command_aware_visitor import CommandInfo
from temporalio.workflow import Info
from typing_extensions import override

from starter.cold_queries import AHEAD, Watched


class Run(WorkflowInstance):
    """Notes what it is given."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @override
    def activate(self, act: WorkflowActivation) -> WorkflowActivationCompletion:
        self.seen += [str(job.WhichOneof("variant")) for job in act.jobs]
        done = WorkflowActivationCompletion()
        done.successful.SetInParent()
        return done

    @override
    def get_serialization_context(self, command_info: CommandInfo | None) -> SerializationContext | None:
        return None

    @override
    def get_external_store_context(self, command_info: CommandInfo | None) -> StorageDriverStoreContext:
        raise AssertionError("nobody asks")

    @override
    def get_info(self) -> Info:
        raise AssertionError("nobody asks")


def activation(length: int, size: int, *jobs: str) -> WorkflowActivation:
    given = WorkflowActivation(history_length=length, history_size_bytes=size)
    for name in jobs:
        job = WorkflowActivationJob()
        getattr(job, name).SetInParent()
        given.jobs.append(job)
    return given


BEGUN = (3, 190, "initialize_workflow")
QUERY = (3, 190, "query_workflow")


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        # As the core of 1.35.0 gave them: an event without a task, for a query; the task with a signal.
        (
            [BEGUN, (8, 190, "resolve_activity"), (8, 190, "query_workflow"), (12, 880, "signal_workflow")],
            [3],
        ),
        ([BEGUN, (8, 190, "resolve_activity"), (8, 190, "query_workflow"), (8, 0, "remove_from_cache")], []),
        ([BEGUN, QUERY, (12, 880, "signal_workflow", "resolve_activity")], []),
        ([BEGUN, (12, 880, "signal_workflow"), (12, 880, "resolve_activity"), (18, 1426, "fire_timer")], []),
        ([(3, 0, "initialize_workflow"), (8, 0, "resolve_activity"), (12, 0, "signal_workflow")], []),
    ],
    ids=["ahead", "forgotten", "a cold query", "two jobs of a task", "a server that tells no size"],
)
def test_a_run_that_is_ahead_of_its_tasks_goes_no_further(given: list[tuple], refused: list[int]):
    """Its next task fails, so that the server gives it anew with the whole history; nothing else does."""
    run = Run()
    watched = Watched(run)
    done = [watched.activate(activation(*each)) for each in given]

    assert refused == [place for place, each in enumerate(done) if each.HasField("failed")]
    assert all(AHEAD == done[place].failed.failure.message for place in refused)
    assert [name for place, each in enumerate(given) for name in each[2:] if place not in refused] == run.seen
