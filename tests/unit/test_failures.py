"""Every exception of every vendor has been thought about."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import ModuleType

import anthropic
import asyncpg
import botocore.exceptions
import e2b.exceptions
import httpx
import httpx2
import pytest
import redis.exceptions
import sqlalchemy.exc
import sqlalchemy.ext.asyncio.exc
import sqlalchemy.orm.exc
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from temporalio.exceptions import ApplicationError

from activities.failures import classified, classify, mask
from activities.retry_after import LONGEST_DELAY
from activities.verdicts import Verdict, verdict_on
from workflows.errors import FailureType

ROOTS = (
    anthropic.AnthropicError,
    httpx.HTTPError,
    httpx2.HTTPError,
    sqlalchemy.exc.SQLAlchemyError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    redis.exceptions.RedisError,
    botocore.exceptions.BotoCoreError,
    botocore.exceptions.ClientError,
)
ABSTRACT = {
    anthropic.AnthropicError,
    anthropic.APIError,
    httpx.HTTPError,
    httpx.RequestError,
    httpx.TransportError,
    httpx2.HTTPError,
    httpx2.RequestError,
    httpx2.TransportError,
    redis.exceptions.RedisError,
}
"""Never raised themselves: a new kind under them must be thought about, not inherit a verdict."""


NOT_PASSING = {
    "BetaRequestBodyTimeoutError",  # not of the Messages API
    "FDWUnableToEstablishConnectionError",  # we use no foreign tables
    "LinkedOrganizationBillingUnavailableError",  # a bill, not a line
    "MD5UnavailableError",  # missing from this machine's Python
}
"""Named like a passing fault, and none."""


def tree(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    yield kind
    for below in kind.__subclasses__():
        yield from tree(below)


def exceptions_of(module: ModuleType) -> list[type[BaseException]]:
    kinds = [kind for kind in vars(module).values() if isinstance(kind, type)]
    return [kind for kind in kinds if issubclass(kind, Exception) and kind.__module__ == module.__name__]


def status_error(status: int, kind: str = "", **headers: str) -> anthropic.APIStatusError:
    body = {
        "error": {"type": kind, "message": "Said with key sk-ant-api03-secretsecret."},
        "request_id": "req_1",
    }
    client = anthropic.AsyncAnthropic(api_key="sk-ant-unused")
    request = httpx2.Request("POST", "http://model/v1/messages")
    response = httpx2.Response(status, headers=headers, json=body, request=request)
    return client._make_status_error("said", body=body, response=response)


@pytest.mark.parametrize("root", ROOTS, ids=lambda root: f"{root.__module__}.{root.__name__}")
def test_every_exception_of_a_vendor_is_classified(root: type[BaseException]):
    """A class that a new version of a vendor brings fails here until somebody decides about it."""
    unknown = {kind for kind in tree(root) if verdict_on(kind) is None} - ABSTRACT

    assert unknown == set()


@pytest.mark.parametrize("module", [e2b.exceptions, redis.exceptions, botocore.exceptions])
def test_every_exception_in_a_vendors_module_is_classified(module: ModuleType):
    """Exceptions beside the vendor's root are thought about too, warnings aside."""
    kinds = {kind for kind in exceptions_of(module) if not issubclass(kind, Warning)} - ABSTRACT
    unknown = {kind.__name__ for kind in kinds if verdict_on(kind) is None}

    assert unknown <= {"MissingServiceIdError", "UndefinedModelAttributeError"}


@pytest.mark.parametrize("root", ROOTS, ids=lambda root: f"{root.__module__}.{root.__name__}")
def test_passing_faults_are_not_taken_for_bugs(root: type[BaseException]):
    """What is named for a lost connection or for time running out is asked again."""
    words = ("Timeout", "ConnectionError", "ConnectError", "Disconnect", "Unavailable", "Overloaded")
    named = [kind for kind in tree(root) if any(word in kind.__name__ for word in words)]
    bugs = {kind.__name__ for kind in named if verdict_on(kind) in {Verdict.BUG, Verdict.REJECTED}}

    assert bugs <= NOT_PASSING


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (400, "invalid_request_error", FailureType.MODEL_REJECTED),
        (401, "authentication_error", FailureType.PERSON_NEEDED),
        (402, "billing_error", FailureType.MODEL_REJECTED),
        (403, "permission_error", FailureType.PERSON_NEEDED),
        (404, "not_found_error", FailureType.MODEL_REJECTED),
        (409, "conflict_error", FailureType.RETRYABLE),
        (413, "request_too_large", FailureType.MODEL_REJECTED),
        (429, "rate_limit_error", FailureType.RETRYABLE),
        (500, "api_error", FailureType.RETRYABLE),
        (503, "api_error", FailureType.RETRYABLE),
        (529, "overloaded_error", FailureType.RETRYABLE),
        (200, "overloaded_error", FailureType.RETRYABLE),
        (200, "api_error", FailureType.RETRYABLE),
        (200, "invalid_request_error", FailureType.MODEL_REJECTED),
        (418, "teapot", FailureType.MODEL_REJECTED),
    ],
)
def test_answers_of_the_model_provider(status: int, kind: str, expected: FailureType):
    """An error in a stream has status 200: there its type decides."""
    failure = classify(status_error(status, kind))

    assert failure.type == expected
    assert failure.non_retryable is (expected is not FailureType.RETRYABLE)


def test_a_refused_key_says_what_to_mend():
    """A person reads what is wrong with which key, and how to go on; no key is shown."""
    failure = classify(status_error(401, "authentication_error"))

    assert all(word in failure.message for word in ("key", "restart the worker", "resume", "***"))
    assert "secretsecret" not in failure.message


@pytest.mark.parametrize(
    "error",
    [
        e2b.exceptions.AuthenticationException("x"),
        botocore.exceptions.NoCredentialsError(),
        botocore.exceptions.ClientError(
            {"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}, "PutObject"
        ),
        ConnectError(Code.UNAUTHENTICATED, "x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_key_that_another_service_refuses_is_waited_for(error: Exception):
    """A build does not die of a rotated key: it is tried again each minute, and the text says what to do."""
    failure = classify(error)

    assert (failure.type, failure.non_retryable) == (FailureType.RETRYABLE, False)
    assert failure.next_retry_delay == timedelta(minutes=1)
    assert "restart the worker" in failure.message


def test_refusal_says_why_without_secrets():
    """The provider's sentence is shown with keys masked, and the request id for its support."""
    failure = classify(status_error(400, "invalid_request_error"))

    assert "Said with key ***" in failure.message
    assert "req_1" in str(failure) or "request" in failure.message
    assert "secretsecret" not in failure.message


@pytest.mark.parametrize(
    ("header", "value", "expected"),
    [
        ("retry-after", "3", timedelta(seconds=3)),
        ("retry-after", "2.5", timedelta(seconds=2.5)),
        ("retry-after-ms", "250", timedelta(milliseconds=250)),
        ("retry-after", "0", None),
        ("retry-after", "86400", LONGEST_DELAY),
        ("retry-after", "soon", None),
    ],
)
def test_retry_after_is_obeyed_up_to_a_cap(header: str, value: str, expected: timedelta | None):
    """Temporal waits as long as the provider asks, and not for ever."""
    assert classify(status_error(429, "rate_limit_error", **{header: value})).next_retry_delay == expected


def test_retry_after_may_be_a_date():
    """A date is as good as seconds."""
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    delay = classify(status_error(529, "overloaded_error", **{"retry-after": later})).next_retry_delay

    assert delay is not None
    assert timedelta(seconds=50) < delay <= timedelta(seconds=60)


def database_error(sqlstate: str) -> sqlalchemy.exc.DBAPIError:
    cause = Exception("password=hunter2")
    cause.sqlstate = sqlstate  # type: ignore[attr-defined]  # as the driver sets it
    return sqlalchemy.exc.DBAPIError("SELECT 1", None, cause)


@pytest.mark.parametrize(
    ("sqlstate", "retried"),
    [("08006", True), ("40001", True), ("40P01", True), ("53300", True), ("57P01", True), ("55P03", True),
     ("28P01", True),
     ("23505", False), ("22001", False), ("42P01", False)],
)  # fmt: skip
def test_database_errors_by_sqlstate(sqlstate: str, *, retried: bool):
    """Connection, deadlock, resources, shutdown and a changed password pass; no parameter is shown."""
    failure = classify(database_error(sqlstate))

    assert failure.non_retryable is not retried
    assert "hunter2" not in failure.message


@pytest.mark.parametrize(
    ("error", "retried"),
    [
        (ConnectError(Code.UNAVAILABLE, "x"), True),
        (ConnectError(Code.INVALID_ARGUMENT, "x"), False),
        (ConnectionResetError("x"), True),
        (TimeoutError("x"), True),
        (json.JSONDecodeError("x", "y", 0), True),
        (KeyError("x"), False),
        (botocore.exceptions.ClientError(
            {"Error": {"Code": "SlowDown"}, "ResponseMetadata": {"HTTPStatusCode": 503}}, "PutObject"), True),
        (botocore.exceptions.ClientError(
            {"Error": {"Code": "NoSuchBucket"}, "ResponseMetadata": {"HTTPStatusCode": 404}}, "Put"), False),
    ],
)  # fmt: skip
def test_other_errors(error: Exception, *, retried: bool):
    """Codes decide where the class says nothing; what nobody knows is a bug and fails fast."""
    assert classify(error).non_retryable is not retried


def test_own_failures_pass_unchanged():
    """A failure that is already one keeps its type."""
    failure = ApplicationError("x", type="Mine")

    assert classify(failure) is failure


async def test_cause_stays_out_of_history():
    """What leaves an activity carries no vendor's exception, whose text history would keep."""
    with pytest.raises(ApplicationError) as caught:
        async with classified():
            raise ConnectionResetError("redis://:hunter2@host")

    assert caught.value.__cause__ is None
    assert "hunter2" not in caught.value.message


async def test_cancellation_is_no_failure():
    """A cancelled activity ends as cancelled."""
    with pytest.raises(asyncio.CancelledError):
        async with classified():
            raise asyncio.CancelledError


@pytest.mark.parametrize(
    "text",
    [
        "key sk-ant-api03-abcdefgh",
        "e2b_0123456789",
        "postgresql+asyncpg://app:hunter2@host/db",
        "Bearer abc.def",
    ],
)
def test_secrets_are_masked(text: str):
    """Keys, passwords in addresses and bearer tokens do not pass."""
    assert "***" in mask(text)
    for secret in ("abcdefgh", "0123456789", "hunter2", "abc.def"):
        assert secret not in mask(text)
