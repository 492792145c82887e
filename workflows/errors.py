"""Failure names by fault, and the outcomes of a build.

Faults, and what is done about each:

    ours        a bug: fails fast, names itself          ApplicationError, not retried
    the model's goes back to it as an error result       never leaves `run_tool`
    provider's  retried by Temporal, waited out          ApplicationError, retried
    budget's    the build rests                          a `Refusal` in the reply, no error at all
    founder's   fails at once, naming the field          InvalidBuildRequest and its kin below
    a key's     the build waits, saying what to mend     PersonNeeded; of other services: retried
"""

from enum import StrEnum


class FailureType(StrEnum):
    """`ApplicationError.type` of every expected failure that crosses a boundary."""

    INVALID_BUILD_REQUEST = "InvalidBuildRequest"  # the founder's: a field does not validate
    UNKNOWN_MODEL = "UnknownModel"  # the founder's: not known, retired, or not in the plan
    AGENT_DISABLED = "AgentDisabled"  # the kill switch is off
    USER_SUSPENDED = "UserSuspended"  # the user is suspended
    NO_ALLOWANCE = "NoAllowance"  # the user's plan leaves nothing to spend
    TOO_MANY_BUILDS = "TooManyBuilds"  # the user has as many builds, at once or today, as the plan allows
    INVALID_TEMPLATE = "InvalidTemplate"  # the sandbox lacks python3, bash or disk
    SANDBOX_LOST = "SandboxLost"  # the sandbox is gone; restore into another
    PERSON_NEEDED = "PersonNeeded"  # the model's key or its permissions: someone must mend them
    MODEL_REJECTED = "ModelRejected"  # the provider refuses the request for good
    RETRYABLE = "ProviderUnavailable"  # the provider's passing fault
    DISK_FULL = "DiskFull"  # no snapshot until the model makes room in the sandbox
    WORKSPACE_REPLACED = "WorkspaceReplaced"  # no snapshot until the model puts the folder back
    UNSAVED = "Unsaved"  # no snapshot for a while, which is told; it is then tried for as long as it takes
    UNRESTORED = "Unrestored"  # no files for a new sandbox for a while; likewise
    INVALID_RESTORE_POINT = "InvalidRestorePoint"  # damaged, not whole, or not there


TOO_LARGE = ("PayloadsTooLarge", "PayloadSizeError")
"""What the SDK fails an activity with whose answer is too large: the next one would be as large.

Ours say themselves that they are not to be retried: a list of them would be written into history with every
activity, 200 bytes each time.
"""


class Outcome(StrEnum):
    """How the loop ended. Only `completed` ends as READY."""

    COMPLETED = "completed"
    ITERATION_LIMIT = "iteration_limit_reached"
    REPETITION = "repetition_detected"
    API_ERROR = "api_error"
    BUDGET_EXCEEDED = "budget_exceeded"
    ESCALATIONS = "escalation_threshold_exceeded"
    CHECKS_FAILED = "checks_failed"
    REFUSED = "refused"
    STOPPED = "stopped"
    CANCELLED = "cancelled"
    SANDBOX_ERROR = "sandbox_error"
    TERMINATED = "terminated"  # from outside: its run could not close anything


class BuildFailed(Exception):
    """An expected end other than READY, with its sentence for the founder."""

    def __init__(self, outcome: Outcome, message: str) -> None:
        super().__init__(message)
        self.outcome = outcome
