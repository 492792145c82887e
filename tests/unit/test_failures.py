"""Every exception of every vendor has been thought about."""

import asyncio
import errno
import importlib
import io
import json
import pkgutil
import socket
import ssl
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import anthropic
import asyncpg
import asyncpg.exceptions._base
import botocore.exceptions
import botocore.parsers
import connectrpc.errors
import e2b.api.client.errors
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

from activities.failures import DiskFull, classified, classify, is_too_long, mask
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
    e2b.exceptions.SandboxException,
    connectrpc.errors.ConnectError,
    botocore.exceptions.BotoCoreError,
    botocore.exceptions.ClientError,
)
VENDORS = (
    "anthropic",
    "httpx",
    "httpx2",
    "sqlalchemy",
    "asyncpg",
    "redis",
    "e2b",
    "connectrpc",
    "botocore",
    "aiobotocore",
)
NOT_OURS = (
    "anthropic.lib.tools",  # tools are run by our own loop
    "anthropic.types",  # thousands of shapes, no exception
    "asyncpg._testbase",  # servers for the vendor's own tests
    "asyncpg.cluster",
    "botocore.vendored",  # an old library, kept for its names
    "redis.auth",  # logins by token, failover among databases, hooks: none is used
    "redis.event",
    "redis.http",
    "redis.multidb",
    "sqlalchemy.dialects.mssql",  # other databases
    "sqlalchemy.dialects.mysql",
    "sqlalchemy.dialects.oracle",
    "sqlalchemy.dialects.sqlite",
    "sqlalchemy.testing",
    "sqlalchemy.util.queue",  # between the pool and itself
)
"""Parts of the vendors that we never reach."""
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


def is_ours(module: str) -> bool:
    return "__main__" not in module and not any(
        module == part or module.startswith(f"{part}.") for part in NOT_OURS
    )


def modules_of(vendor: str) -> Iterator[str]:
    """Import all that a vendor's package holds; a part whose optional dependency is missing stays out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pending = [vendor]
        while pending:
            name = pending.pop()
            with suppress(ImportError):
                module = importlib.import_module(name)
                yield name
                below = pkgutil.iter_modules(getattr(module, "__path__", ()), f"{name}.")
                pending += [one.name for one in below if is_ours(one.name)]


def exceptions_of(vendor: str) -> set[type[BaseException]]:
    """Give what a vendor's modules define; names with an underscore are its private signals."""
    kinds = [kind for name in modules_of(vendor) for kind in vars(sys.modules[name]).values()]
    found = {kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Exception)}
    return {
        kind
        for kind in found
        if kind.__module__.partition(".")[0] == vendor
        and is_ours(kind.__module__)
        and not kind.__name__.startswith("_")
        and not issubclass(kind, Warning)
    }


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


@pytest.mark.parametrize("vendor", VENDORS)
def test_every_exception_in_a_vendors_modules_is_classified(vendor: str):
    """Exceptions beside the vendors' roots are thought about too, wherever they are defined."""
    found = exceptions_of(vendor)
    unknown = {f"{kind.__module__}.{kind.__name__}" for kind in found - ABSTRACT if verdict_on(kind) is None}

    assert unknown == set()
    assert found


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
        (200, "timeout_error", FailureType.RETRYABLE),
        (200, "", FailureType.RETRYABLE),
        (200, "invalid_request_error", FailureType.MODEL_REJECTED),
        (200, "authentication_error", FailureType.PERSON_NEEDED),
        (200, "permission_error", FailureType.PERSON_NEEDED),
        (200, "billing_error", FailureType.MODEL_REJECTED),
        (418, "teapot", FailureType.MODEL_REJECTED),
    ],
)
def test_answers_of_the_model_provider(status: int, kind: str, expected: FailureType):
    """An error in a stream has status 200: there its type decides, and none is the stream's fault."""
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
        (e2b.api.client.errors.UnexpectedStatus(503, b""), True),
        (e2b.api.client.errors.UnexpectedStatus(400, b""), False),
        (asyncpg.exceptions._base.ProtocolError("x"), True),
        (botocore.parsers.ResponseParserError("x"), True),
        (httpx.InvalidURL("x"), False),
        (httpx2.InvalidURL("x"), False),
        (KeyError("x"), False),
        (botocore.exceptions.ClientError(
            {"Error": {"Code": "SlowDown"}, "ResponseMetadata": {"HTTPStatusCode": 503}}, "PutObject"), True),
        (botocore.exceptions.ClientError(
            {"Error": {"Code": "NoSuchBucket"}, "ResponseMetadata": {"HTTPStatusCode": 404}}, "Put"), False),
        (botocore.exceptions.ClientError(
            {"Error": {"Code": "Moved"}, "ResponseMetadata": {"HTTPStatusCode": 301}}, "Put"), False),
    ],
)  # fmt: skip
def test_other_errors(error: Exception, *, retried: bool):
    """Codes decide where the class says nothing; what nobody knows is a bug and fails fast."""
    assert classify(error).non_retryable is not retried


@pytest.mark.parametrize(
    ("error", "retried"),
    [
        (ConnectionResetError("x"), True),
        (TimeoutError("x"), True),
        (socket.gaierror(socket.EAI_AGAIN, "x"), True),
        (ssl.SSLEOFError("x"), True),
        (ssl.SSLCertVerificationError("x"), True),
        (OSError(errno.ENETUNREACH, "x"), True),
        (OSError("Multiple exceptions: [Errno 111], [Errno 111]"), True),
        (FileNotFoundError(errno.ENOENT, "a socket's file that is not there yet"), True),
        (FileNotFoundError(errno.ENOENT, "x", "/srv/absent"), False),
        (FileNotFoundError("The sandbox has no file 'x'."), False),
        (PermissionError(errno.EACCES, "x", "/srv/closed"), False),
        (OSError(errno.EISDIR, "x", "/srv"), False),
        (ProcessLookupError(errno.ESRCH, "x"), False),
        (io.UnsupportedOperation("x"), False),
    ],
)
def test_errors_of_the_system(error: OSError, *, retried: bool):
    """Connections are asked again; what is wrong with a file or a process is a bug of ours."""
    assert classify(error).non_retryable is not retried


def answer(said: bytes) -> httpx2.Response:
    return httpx2.Response(200, content=said)


@pytest.mark.parametrize(
    ("read", "retried"),
    [
        (lambda: answer(b"<html>").json(), True),
        (lambda: answer(b'"\xff"').json(), True),
        (lambda: json.loads("<html>"), False),
        (lambda: str(b"\xff", "utf-8"), False),
    ],
    ids=["an answer's JSON", "an answer's letters", "our JSON", "our letters"],
)
def test_what_cannot_be_read_is_told_by_who_read_it(read: Callable[[], object], *, retried: bool):
    """A vendor's client that cannot read an answer read a proxy's; where we cannot, the text is ours."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 its kind is what is told apart
        read()

    assert classify(caught.value).non_retryable is not retried


def test_a_full_disk_is_named():
    """It passes once somebody makes room, so it is no bug, and has a kind by which it goes to the model."""
    failure = classify(e2b.exceptions.NotEnoughSpaceException("x"))

    assert (type(failure), failure.non_retryable) == (DiskFull, False)


@pytest.mark.parametrize(("status", "is_passing"), [(500, True), (502, True), (400, False), (None, False)])
def test_answers_of_the_sandbox_provider(status: int | None, *, is_passing: bool):
    """Its own faults pass, whichever call of ours they answer; what it refuses is asked only once."""
    failure = classify(e2b.exceptions.SandboxException("said", status_code=status))

    assert is_passing == (failure.type == FailureType.RETRYABLE) == (not failure.non_retryable)


@pytest.mark.parametrize(
    ("status", "said", "expected"),
    [
        (400, "prompt is too long: 210000 tokens > 200000 maximum", True),
        (400, "input length and `max_tokens` exceed context limit: 190000 + 16000 > 200000", True),
        (413, "Request exceeds the maximum size", True),
        (400, "max_tokens: must be positive", False),
    ],
)
def test_too_long_is_known_by_its_words(status: int, said: str, *, expected: bool):
    """However the provider says it: in tokens, in tokens with the output, or in bytes."""
    error = status_error(status, "invalid_request_error")
    error.api_message = said

    assert is_too_long(error) is expected


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
