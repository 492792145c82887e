"""Keeps a query from putting a run's events in an order that no replay gives again.

One that waited for a dead worker is given to another with all events that there are by then, and the SDK's
core (1.35.0) goes on through those that belong to no workflow task yet. What comes with their task is then
seen apart from them; a replay sees both together, may do otherwise, and fails for good.
"""

from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.converter import SerializationContext, StorageDriverStoreContext
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails
from temporalio.worker._command_aware_visitor import CommandInfo
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner
from temporalio.workflow import Info
from typing_extensions import override

AHEAD = "A query had this worker see events before their task; the run is replayed before it goes on."
HARMLESS = {"query_workflow", "remove_from_cache"}
"""Jobs that take a run no further."""


class ColdQueries(SandboxedWorkflowRunner):
    """Runs workflows in the sandbox, and replays one anew that a query has taken ahead of its tasks."""

    @override
    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        return Watched(super().create_instance(det))


class Watched(WorkflowInstance):
    """One run in this worker's memory."""

    def __init__(self, inner: WorkflowInstance) -> None:
        self._inner = inner
        self._length = self._bytes = 0
        self._is_ahead = False

    @override
    def activate(self, act: WorkflowActivation) -> WorkflowActivationCompletion:
        """Let the run go on; where a query took it too far, fail the task, which is given anew, in full."""
        if {job.WhichOneof("variant") for job in act.jobs} <= HARMLESS:
            return self._inner.activate(act)
        if self._is_ahead:
            failed = WorkflowActivationCompletion()
            failed.failed.failure.message = AHEAD
            return failed
        # Each task tells anew how large the history is: more events at the same size belong to none.
        is_same_size = 0 < self._bytes == act.history_size_bytes
        self._is_ahead = is_same_size and self._length < act.history_length and not act.is_replaying
        self._length, self._bytes = act.history_length, act.history_size_bytes
        return self._inner.activate(act)

    @override
    def get_serialization_context(self, command_info: CommandInfo | None) -> SerializationContext | None:
        return self._inner.get_serialization_context(command_info)

    @override
    def get_external_store_context(self, command_info: CommandInfo | None) -> StorageDriverStoreContext:
        return self._inner.get_external_store_context(command_info)

    @override
    def get_info(self) -> Info:
        return self._inner.get_info()

    @override
    def get_thread_id(self) -> int | None:
        return self._inner.get_thread_id()
