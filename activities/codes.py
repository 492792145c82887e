"""What an exception means whose class says nothing: read from its status, type, code or origin. No texts."""

import traceback
from typing import Any

import anthropic
import botocore.exceptions as boto
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from sqlalchemy import exc as sql

_PASSING_TYPES = frozenset({"overloaded_error", "api_error", "rate_limit_error", "timeout_error"})
_CLOSED_TYPES = frozenset({"authentication_error", "permission_error"})
_FINAL_TYPES = frozenset({"invalid_request_error", "not_found_error", "billing_error", "request_too_large"})
_PASSING_STATUS = frozenset({408, 409, 425, 429})
_ERRORS_BEGIN = 400
_SERVERS_FAULT = 500
_PASSING_CODES = frozenset(
    {
        Code.ABORTED,
        Code.CANCELED,
        Code.DEADLINE_EXCEEDED,
        Code.INTERNAL,
        Code.RESOURCE_EXHAUSTED,
        Code.UNAVAILABLE,
        Code.UNKNOWN,
    }
)
_CLOSED_STATUS = frozenset({401, 403})
_CLOSED_CODES = frozenset({Code.PERMISSION_DENIED, Code.UNAUTHENTICATED})
_CLOSED_SQLSTATE = "28"
_PASSING_SQLSTATES = ("08", "25P03", "25P04", "40", "53", "55P03", "57", "58")
_READERS = frozenset(
    {"anthropic", "aiobotocore", "botocore", "connectrpc", "e2b", "httpx", "httpx2", "redis"}
)
"""Packages that read what a service answered."""


def is_passing_code(error: BaseException) -> bool:
    """Tell whether asking again may help."""
    match error:
        case ConnectError():
            return error.code in _PASSING_CODES
        case sql.DBAPIError():
            state = str(getattr(error.orig, "sqlstate", None) or "")
            return error.connection_invalidated or state.startswith(_PASSING_SQLSTATES)
        case ValueError():
            return _reader(error) in _READERS
        case OSError():
            # A connection that fails names no file, and has a number unless it tried several addresses.
            return error.filename is None and (error.errno is not None or type(error) is OSError)
        case _:
            return _is_passing_answer(error)


def is_closed_code(error: BaseException) -> bool:
    """Tell whether a key or a permission is what is wrong."""
    if isinstance(error, ConnectError):
        return error.code in _CLOSED_CODES
    if isinstance(error, sql.DBAPIError):
        return str(getattr(error.orig, "sqlstate", None) or "").startswith(_CLOSED_SQLSTATE)
    return status_of(error) in _CLOSED_STATUS or getattr(error, "type", None) in _CLOSED_TYPES


def status_of(error: BaseException) -> int | None:
    """Give the HTTP status that a service answered with."""
    response: Any = getattr(error, "response", None)
    if isinstance(error, boto.ClientError):
        return response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return getattr(response, "status_code", getattr(error, "status_code", None))


def code_of(error: BaseException) -> str | None:
    """Give the code by which a service names what is wrong."""
    if isinstance(error, ConnectError):
        return error.code.value
    if isinstance(error, sql.DBAPIError):
        return getattr(error.orig, "sqlstate", None)
    if isinstance(error, boto.ClientError):
        answer: Any = getattr(error, "response", {})
        return str(answer.get("Error", {}).get("Code"))
    return getattr(error, "error_code", None)


def _is_passing_answer(error: BaseException) -> bool:
    kind, status = getattr(error, "type", None), status_of(error)
    if kind in _PASSING_TYPES:
        return True
    if isinstance(error, anthropic.APIStatusError) and status is not None and status < _ERRORS_BEGIN:
        # Told within a stream, where a fault without a type is the stream's own.
        return kind not in _CLOSED_TYPES | _FINAL_TYPES
    return status is not None and (status >= _SERVERS_FAULT or status in _PASSING_STATUS)


def _reader(error: ValueError) -> str:
    """Name the package whose reading raised this, past Python's own."""
    modules = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    packages = [str(module).partition(".")[0] for module in modules]
    return next((name for name in reversed(packages) if name not in ("json", "codecs")), "")
