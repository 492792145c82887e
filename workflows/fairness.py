"""Fair shares of the workers: each user's steps wait in a line of their own, served by the plan's weight.

Whatever a build starts passes here, so that no call can forget it. The server takes turns between the lines
only where something waits; one that knows no fairness ignores what it is told and serves in order of arrival.
"""

from hashlib import sha256

from temporalio import workflow
from temporalio.common import Priority
from temporalio.worker import (
    Interceptor,
    StartActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)
from typing_extensions import override

from workflows.state import BuildState
from workflows.texts import clean

LONGEST_KEY = 64
"""Bytes of a fairness key; the server refuses a longer one."""


def share_of(user: str, weight: int = 1) -> Priority:
    """Give the line of a user; one whose name is too long for the server has the digest of it."""
    key = str(clean(user))
    if len(name := key.encode()) > LONGEST_KEY:
        key = sha256(name).hexdigest()
    return Priority(fairness_key=key, fairness_weight=float(weight))


class FairShares(Interceptor):
    """Puts the activities of a build, once it knows who pays, into its user's line."""

    @override
    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor]:
        """Give what the SDK puts around each workflow."""
        return _Inbound


class _Inbound(WorkflowInboundInterceptor):
    @override
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_Outbound(outbound))


class _Outbound(WorkflowOutboundInterceptor):
    @override
    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[object]:
        state: object = getattr(workflow.instance(), "state", None)
        if isinstance(state, BuildState) and state.user:
            input.priority = share_of(state.user, state.weight)
        return super().start_activity(input)
