"""How long a lost worker goes unnoticed, as a worker's own settings say.

The workflow reads no setting: its worker changes what it starts. A replay compares no timeouts, so workers
that are set otherwise may take turns with a run.
"""

from datetime import timedelta

from temporalio import workflow
from temporalio.worker import (
    Interceptor,
    StartActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)
from typing_extensions import override


class Heartbeats(Interceptor):
    """Gives each activity that beats this heartbeat timeout."""

    def __init__(self, timeout: timedelta) -> None:
        self._timeout = timeout

    @override
    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor]:
        """Give what the SDK puts around each workflow."""
        timeout = self._timeout

        class Inbound(WorkflowInboundInterceptor):
            @override
            def init(self, outbound: WorkflowOutboundInterceptor) -> None:
                super().init(_Outbound(outbound, timeout))

        return Inbound


class _Outbound(WorkflowOutboundInterceptor):
    def __init__(self, outbound: WorkflowOutboundInterceptor, timeout: timedelta) -> None:
        super().__init__(outbound)
        self._timeout = timeout

    @override
    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[object]:
        if input.heartbeat_timeout is not None:
            input.heartbeat_timeout = self._timeout
        return super().start_activity(input)
