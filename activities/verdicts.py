"""What each vendor's exception classes mean, decided once: retried, asked of a person, refused, or a bug.

A test walks the vendors' class trees and fails on a class that this table does not reach.
"""

import json
import ssl
from collections.abc import Mapping
from enum import Enum

import anthropic
import asyncpg
import botocore.exceptions as boto
import e2b.exceptions as e2b
import httpx
import httpx2
from anthropic._response import MissingStreamClassError, StreamAlreadyConsumed
from anthropic.lib._extras._common import MissingDependencyError
from anthropic.lib.credentials._workload import WorkloadIdentityError
from anthropic.lib.foundry import MutuallyExclusiveAuthError
from anthropic.lib.tools._toolsets._errors import ToolsetUsageError
from asyncpg.exceptions import _base as asyncpg_client
from asyncpg.pgproto.pgproto import BufferError as BrokenMessage
from botocore import eventstream, model, parsers, utils
from connectrpc._protocol import HTTPError
from connectrpc.errors import ConnectError
from e2b.api.client.errors import UnexpectedStatus
from e2b.volume.client.errors import UnexpectedStatus as UnexpectedVolumeStatus
from redis import exceptions as redis
from sqlalchemy import exc as sql


class Verdict(Enum):
    """What is done about an exception."""

    RETRY = "retry"  # the provider's passing fault
    MEND = "mend"  # a key or a permission that a person must mend
    REJECTED = "rejected"  # the model's provider refuses the request, or us, for good
    BUG = "bug"  # ours: wrong use of a client, wrong configuration
    BY_CODE = "by code"  # the class says nothing: its status or code decides


_RETRY: tuple[type[Exception], ...] = (
    anthropic.APIConnectionError,
    anthropic.APIResponseValidationError,
    anthropic.ClientClosedRequestError,
    anthropic.ConflictError,
    anthropic.InternalServerError,
    anthropic.RateLimitError,
    anthropic.RequestTimeoutError,
    anthropic.RetryableError,
    httpx2.DecodingError,
    httpx2.NetworkError,
    httpx2.ProtocolError,
    httpx2.ProxyError,
    httpx2.SSEError,
    httpx2.TimeoutException,
    httpx.DecodingError,
    httpx.NetworkError,
    httpx.ProtocolError,
    httpx.ProxyError,
    httpx.TimeoutException,
    sql.DisconnectionError,
    sql.InterfaceError,
    sql.OperationalError,
    sql.TimeoutError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.TransactionTimeoutError,
    asyncpg.TransactionRollbackError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresSystemError,
    asyncpg_client.OutdatedSchemaCacheError,
    asyncpg_client.ProtocolError,
    asyncpg_client.TargetServerAttributeNotMatched,
    BrokenMessage,
    redis.ChildDeadlockedError,
    redis.ClusterError,
    redis.ConnectionError,
    redis.OutOfMemoryError,
    redis.ReadOnlyError,
    redis.SlotNotCoveredError,
    redis.TimeoutError,
    redis.TryAgainError,
    redis.WatchError,
    e2b.GuestUnresponsiveException,
    e2b.NotEnoughSpaceException,
    e2b.RateLimitException,
    e2b.ServiceBusyException,
    e2b.TimeoutException,
    boto.CapacityNotAvailableError,
    boto.ChecksumError,
    boto.ConnectionError,
    boto.CredentialRetrievalError,
    boto.EventStreamError,
    boto.FlexibleChecksumError,
    boto.HTTPClientError,
    boto.IncompleteReadError,
    boto.MetadataRetrievalError,
    boto.TokenRetrievalError,
    eventstream.ParserError,
    parsers.ResponseParserError,
    utils.BadIMDSRequestError,
    ConnectionError,
    TimeoutError,
    ssl.SSLError,
)
"""Transport, overload, shutdown."""

_MEND: tuple[type[Exception], ...] = (
    anthropic.AuthenticationError,
    anthropic.CredentialsError,
    anthropic.PermissionDeniedError,
    WorkloadIdentityError,
    asyncpg.InvalidAuthorizationSpecificationError,
    e2b.AuthenticationException,
    boto.NoAuthTokenError,
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.SSOTokenLoadError,
    boto.UnauthorizedSSOTokenError,
)
"""Keys that were revoked, have expired or may not do it: whoever runs the build can mend that."""

_REJECTED: tuple[type[Exception], ...] = (
    anthropic.BadRequestError,
    anthropic.ContentTooLargeError,
    anthropic.ContractSpendLimitReachedError,
    anthropic.EnforcedSpendLimitReachedError,
    anthropic.HTTPNotImplementedError,
    anthropic.NotFoundError,
    anthropic.PaymentRequiredError,
    anthropic.PreconditionFailedError,
    anthropic.RequestHeaderFieldsTooLargeError,
    anthropic.UnprocessableEntityError,
)

_BUG: tuple[type[Exception], ...] = (
    anthropic.APIWebhookValidationError,
    MissingDependencyError,
    MissingStreamClassError,
    MutuallyExclusiveAuthError,
    StreamAlreadyConsumed,
    ToolsetUsageError,
    httpx2.CookieConflict,
    httpx2.InvalidURL,
    httpx2.StreamError,
    httpx2.TooManyRedirects,
    httpx2.UnsupportedProtocol,
    httpx.CookieConflict,
    httpx.InvalidURL,
    httpx.StreamError,
    httpx.TooManyRedirects,
    httpx.UnsupportedProtocol,
    sql.EmulatedDBAPIException,
    sql.SQLAlchemyError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg_client.InternalClientError,
    redis.AuthenticationError,
    redis.AuthorizationError,
    redis.DataError,
    redis.IncorrectPolicyType,
    redis.InvalidPipelineStack,
    redis.InvalidResponse,
    redis.LockError,
    redis.PubSubError,
    redis.RedisClusterException,
    redis.ResponseError,
    e2b.BuildException,
    e2b.InvalidArgumentException,
    e2b.NotFoundException,
    e2b.SecretException,
    e2b.VolumeException,
    boto.BotoCoreError,
    boto.UndefinedModelAttributeError,
    model.InvalidShapeError,
    model.InvalidShapeReferenceError,
    model.NoShapeFoundError,
    model.OperationNotFoundError,
    utils.InvalidArnException,
    HTTPError,
    ChildProcessError,
    ProcessLookupError,
)
"""Wrong use of a client or a wrong setting: asking again changes nothing."""

_BY_CODE: tuple[type[Exception], ...] = (
    anthropic.APIStatusError,
    httpx2.HTTPStatusError,
    httpx.HTTPStatusError,
    sql.DBAPIError,
    e2b.SandboxException,
    boto.ClientError,
    UnexpectedStatus,
    UnexpectedVolumeStatus,
    ConnectError,
    json.JSONDecodeError,
    UnicodeDecodeError,
    OSError,
)

TABLE: Mapping[type[BaseException], Verdict] = {
    kind: verdict
    for verdict, kinds in (
        (Verdict.RETRY, _RETRY),
        (Verdict.MEND, _MEND),
        (Verdict.REJECTED, _REJECTED),
        (Verdict.BUG, _BUG),
        (Verdict.BY_CODE, _BY_CODE),
    )
    for kind in kinds
}
"""The nearest class of an exception's own line of descent decides."""


def verdict_on(kind: type[BaseException]) -> Verdict | None:
    """Give what the table says about a class; none: nobody has thought about it."""
    return next((TABLE[each] for each in kind.__mro__ if each in TABLE), None)
