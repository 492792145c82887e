"""What the answers of the sandbox provider mean: lost, asked again, or refused for good. Owns the texts."""

from http import HTTPStatus

from e2b import NotEnoughSpaceException, SandboxException
from temporalio.exceptions import ApplicationError

from activities.failures import classify, mask
from workflows.errors import FailureType


def answered(error: SandboxException) -> ApplicationError:
    """Judge what the provider answered, by its status."""
    status, said = error.status_code or 0, mask(str(error))[:200]
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(error, NotEnoughSpaceException):
        text = f"The sandbox provider answered {status}; it is asked again."
    elif status == HTTPStatus.TOO_MANY_REQUESTS:
        text = (
            f"The sandbox provider allows no more just now ({said}); it is asked again. If that lasts, kill "
            "sandboxes that nobody needs or raise the account's limits."
        )
    elif status == HTTPStatus.BAD_REQUEST:
        text = (
            f"The sandbox provider refuses this for good ({said}). If it names the timeout, set "
            "SANDBOX_TIMEOUT_SECONDS and SANDBOX_LONGEST_RUN_SECONDS to what the account allows."
        )
        return ApplicationError(text, type=type(error).__name__, non_retryable=True)
    else:
        return classify(error)
    return ApplicationError(text, type=FailureType.RETRYABLE)
