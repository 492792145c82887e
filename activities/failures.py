"""Turns any exception into the failure that Temporal records: retried, asked of a person, refused, or a bug.

Owns the texts. No secret and no response body passes through: texts are made of names, codes
and, for a refused request, the provider's own short sentence with keys masked.
"""

import logging
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

import anthropic
import e2b.exceptions as e2b
from temporalio.exceptions import ApplicationError

from activities.codes import code_of, is_closed_code, is_passing_code, status_of
from activities.retry_after import retry_after
from activities.verdicts import Verdict, verdict_on
from workflows.errors import FailureType

DETAIL_CHARS = 300
"""How much of a provider's sentence is shown."""
MENDED_AFTER = timedelta(minutes=1)
"""How soon a service that refuses our key is asked again."""

NO_CREDIT = (
    "Add credit or raise the spend limit in the console of the model's provider, then start the build again: "
    "its files are saved."
)
"""What a founder can do when the provider wants money."""

_UNPAID = (
    anthropic.PaymentRequiredError,
    anthropic.ContractSpendLimitReachedError,
    anthropic.EnforcedSpendLimitReachedError,
)
_UNPAID_WORDS = ("credit balance is too low", "specified api usage limits")
"""Bills that come as a plain 400 without a code: only the words tell."""
_BILLING = "billing_error"
_TOO_LONG_WORDS = ("prompt is too long", "exceed context limit")
"""How the provider says that the conversation does not fit the model; it has no code for it."""
_SECRET = re.compile(r"sk-[\w-]{6,}|e2b_\w+|AKIA\w+|(?<=://)[^@/\s]+(?=@)|(?<=Bearer )\S+")

log = logging.getLogger(__name__)


class DiskFull(ApplicationError):
    """The sandbox's disk holds no more; only the work in it can make room."""


def is_passing(error: BaseException) -> bool:
    """Tell whether asking again may help."""
    verdict = verdict_on(type(error))
    return verdict is Verdict.RETRY or (verdict is Verdict.BY_CODE and is_passing_code(error))


def is_closed(error: BaseException) -> bool:
    """Tell whether a service refuses our key or what it may do, which a person must mend."""
    verdict = verdict_on(type(error))
    return verdict is Verdict.MEND or (verdict is Verdict.BY_CODE and is_closed_code(error))


def classify(error: BaseException) -> ApplicationError:
    """Turn any exception into the failure that Temporal records."""
    if isinstance(error, ApplicationError):
        return error
    name, facts = type(error).__name__, _facts(error)
    if isinstance(error, e2b.NotEnoughSpaceException):
        return DiskFull("The sandbox's disk is full. Delete what is not needed.", type=FailureType.RETRYABLE)
    if is_passing(error):
        return ApplicationError(
            f"A service does not answer as it should ({facts}); it is asked again.",
            type=FailureType.RETRYABLE,
            next_retry_delay=retry_after(error),
        )
    if is_closed(error):
        return _to_mend(error, facts)
    if isinstance(error, anthropic.AnthropicError) and verdict_on(type(error)) is not Verdict.BUG:
        return ApplicationError(
            f"The model's provider refuses this for good ({facts}): {_sentence(error)}"
            + (f" {NO_CREDIT}" if _is_unpaid(error) else ""),
            type=FailureType.MODEL_REJECTED,
            non_retryable=True,
        )
    detail = "" if verdict_on(type(error)) else f": {mask(str(error))[:DETAIL_CHARS]}"
    return ApplicationError(
        f"A bug of ours or a wrong setting ({facts}){detail}", type=name, non_retryable=True
    )


def _to_mend(error: BaseException, facts: str) -> ApplicationError:
    """The model's key is asked of the founder; any other service is asked again until its key is mended."""
    if isinstance(error, anthropic.AnthropicError):
        return ApplicationError(
            f"The model's provider refuses the key of this build ({facts}): {_sentence(error)} "
            "Mend the key or its permissions, restart the worker with it, then `resume` the build.",
            type=FailureType.PERSON_NEEDED,
            non_retryable=True,
        )
    return ApplicationError(
        f"A service refuses our key or its permissions ({facts}). "
        "Mend it and restart the worker; the service is asked again every minute.",
        type=FailureType.RETRYABLE,
        next_retry_delay=MENDED_AFTER,
    )


@asynccontextmanager
async def classified() -> AsyncGenerator[None]:
    """Let only classified failures leave an activity; the cause stays in the worker's log."""
    try:
        yield
    except ApplicationError:
        raise
    except Exception as error:  # the boundary: whatever happens inside is classified
        failure = classify(error)
        if failure.non_retryable:
            log.exception("%s", failure)
        # The cause's text would stand in history, and may hold what a vendor echoed.
        raise failure from None


def is_too_long(error: anthropic.APIStatusError) -> bool:
    """Tell whether the provider refuses a request for its length, in tokens or in bytes."""
    said = str(error.api_message)
    return isinstance(error, anthropic.ContentTooLargeError) or any(
        words in said for words in _TOO_LONG_WORDS
    )


def lost(sandbox_id: str, reason: str) -> ApplicationError:
    """Make the failure that has the build restored into another sandbox; never retried."""
    return ApplicationError(
        f"Sandbox {sandbox_id or '(new)'} is lost: {reason}. The build goes on in a restored one.",
        type=FailureType.SANDBOX_LOST,
        non_retryable=True,
    )


def mask(text: str) -> str:
    """Blank what looks like a key, a password in an address, or a bearer token."""
    return _SECRET.sub("***", text)


def _facts(error: BaseException) -> str:
    """Name the exception by class, status, code and request id, never by its text."""
    found = {
        "status": status_of(error),
        "type": getattr(error, "type", None),
        "code": code_of(error),
        "request": getattr(error, "request_id", None),
    }
    return ", ".join((type(error).__name__, *(f"{key} {value}" for key, value in found.items() if value)))


def _is_unpaid(error: anthropic.AnthropicError) -> bool:
    """Tell whether the provider refuses because of a bill or a spend limit, which no retry can mend."""
    said = _sentence(error).lower()
    is_bill = isinstance(error, _UNPAID) or getattr(error, "type", None) == _BILLING
    return is_bill or any(words in said for words in _UNPAID_WORDS)


def _sentence(error: anthropic.AnthropicError) -> str:
    said = getattr(error, "api_message", None)
    return mask(said)[:DETAIL_CHARS] if isinstance(said, str) else "no reason was given."
