"""Asking a part through its real client whether it is there; changes nothing, and never tells a secret."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, GetSystemInfoRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from activities.addresses import mask, secrets_in, shown
from activities.settings import FORMS, Settings
from starter.local.clients import ask_redis, has_bucket, query_postgres
from starter.local.parts import CHOSEN_BY, PREFIX, Part, PartFailed, PartStatus
from starter.local.temporal_profile import connect_config
from starter.search_attributes import MissingSearchAttributes, check_search_attributes

Environment = Mapping[str, str]
LIMIT = 10.0
"""Seconds a part has to answer."""
LONGEST_REASON = 300
SECRET_WORDS = ("KEY", "TOKEN", "SECRET", "PASSWORD", "GRPC_META")
PUBLIC_ENDS = ("_PATH", "_FILE")


async def probe(part: Part, environment: Environment, *, kind: Literal["real", "stand-in"]) -> PartStatus:
    """What a part answers; one that does not answer is unhealthy, with the reason and what to set."""
    fix = (
        f"check {_to_check(part)}"
        if kind == "real"
        else "stop the process that runs the stack, and start it again"
    )
    address = version = reason = ""
    try:
        address = address_of(part, environment)
        async with asyncio.timeout(LIMIT):
            version = await PROBES[part](_as_meant(part, environment))
    except TimeoutError:
        reason = f"no answer within {LIMIT:.0f} s"
    except PartFailed as failed:
        reason, fix = failed.why, failed.fix
    except Exception as error:  # noqa: BLE001 - a probe's whole purpose is to report whatever went wrong
        reason = f"{type(error).__name__}: {error}"
    return PartStatus(
        name=part,
        kind=kind,
        address=address,
        version=version,
        healthy=not reason,
        # Cut before it is masked, the rest of a secret would not be known as one.
        reason=_masked(" ".join(reason.split()), environment)[:LONGEST_REASON],
        fix=fix if reason else "",
    )


def address_of(part: Part, environment: Environment) -> str:
    """Where a part is, without user, password and options."""
    match part:
        case Part.S3:
            place = f"s3://{_bucket(environment)}"
            endpoint = environment.get("AWS_ENDPOINT_URL_S3", "")
            return f"{place} at {shown(endpoint)}" if endpoint else place
        case Part.TEMPORAL:
            profile = environment.get("TEMPORAL_PROFILE", "default")
            return environment.get("TEMPORAL_ADDRESS", f"profile {profile!r}").rpartition("@")[2]
        case Part.SANDBOX:
            return shown(_e2b(environment))
        case Part.MODEL:
            return shown(_anthropic(environment))
        case Part.POSTGRES | Part.REDIS:
            return shown(environment.get(CHOSEN_BY[part][0], ""))


async def _postgres(environment: Environment) -> str:
    return str(await query_postgres(environment["DATABASE_URL"], "SHOW server_version"))


async def _redis(environment: Environment) -> str:
    server = await ask_redis(environment["REDIS_URL"])
    return str(server.get("valkey_version") or server["redis_version"])


async def _s3(environment: Environment) -> str:
    bucket = _bucket(environment)
    return "" if await has_bucket(bucket, environment) else "no such bucket yet: the worker makes it"


async def _temporal(environment: Environment) -> str:
    client = await _connect(environment)
    version = (await client.workflow_service.get_system_info(GetSystemInfoRequest())).server_version
    request = DescribeNamespaceRequest(namespace=client.namespace)
    try:
        await client.workflow_service.describe_namespace(request)
        await check_search_attributes(client)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        raise PartFailed(
            Part.TEMPORAL,
            why=f"the server has no namespace {client.namespace!r}",
            fix="correct TEMPORAL_NAMESPACE, or make it: temporal operator namespace create "
            f"--namespace {client.namespace}",
        ) from None
    except MissingSearchAttributes as missing:
        raise PartFailed(Part.TEMPORAL, why=missing.why, fix=missing.fix) from None
    return version


async def _connect(environment: Environment) -> Client:
    try:
        return await Client.connect(**connect_config(environment))
    except RuntimeError as error:
        # The core tells its whole tree of errors.
        cause = re.search(r'message: "([^"]+)"', str(error))
        raise ConnectionError(f"the server does not answer: {cause[1] if cause else error}") from None


async def _sandbox(environment: Environment) -> str:
    await _get(f"{_e2b(environment)}/v2/sandboxes?limit=1", {"X-API-Key": environment.get("E2B_API_KEY", "")})
    return ""


async def _model(environment: Environment) -> str:
    version = "2023-06-01"
    headers = {"x-api-key": environment.get("ANTHROPIC_API_KEY", ""), "anthropic-version": version}
    await _get(f"{_anthropic(environment)}/v1/models?limit=1", headers)
    return version


PROBES: Mapping[Part, Callable[[Environment], Awaitable[str]]] = {
    Part.POSTGRES: _postgres,
    Part.REDIS: _redis,
    Part.S3: _s3,
    Part.TEMPORAL: _temporal,
    Part.SANDBOX: _sandbox,
    Part.MODEL: _model,
}


def _to_check(part: Part) -> str:
    names = CHOSEN_BY[part][:2]
    if part is Part.S3:
        return f"{', '.join(names)}, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    return " and ".join(names)


def _bucket(environment: Environment) -> str:
    return (
        environment.get("PROJECT_SNAPSHOT_BUCKET") or Settings.model_fields["project_snapshot_bucket"].default
    )


def _e2b(environment: Environment) -> str:
    return environment.get("E2B_API_URL") or f"https://api.{environment.get('E2B_DOMAIN') or 'e2b.app'}"


def _anthropic(environment: Environment) -> str:
    return environment.get("ANTHROPIC_BASE_URL") or "https://api.anthropic.com"


async def _get(url: str, headers: dict[str, str]) -> None:
    import httpx2  # which takes a while to load, and only these two need it

    async with httpx2.AsyncClient(timeout=LIMIT, follow_redirects=True) as client:
        reply = await client.get(url, headers=headers)
    if not reply.is_success:
        raise ConnectionError(f"it answers with status {reply.status_code} {reply.reason_phrase}")


def _as_meant(part: Part, environment: Environment) -> Environment:
    """The environment with the part's settings in the form that the worker reads them in."""
    meant = dict(environment)
    for field, form in FORMS.items():
        name = field.upper()
        if environment.get(name) and _belongs(part, name):
            try:
                meant[name] = form(environment[name])
            except ValueError as error:
                raise PartFailed(part, why=f"{name}: {error}", fix=f"correct {name}") from None
    return meant


def _belongs(part: Part, name: str) -> bool:
    return name in CHOSEN_BY[part] or (part in PREFIX and name.startswith(PREFIX[part]))


def _masked(text: str, environment: Environment) -> str:
    ours = {name: value for name, value in environment.items() if any(_belongs(part, name) for part in Part)}
    keys = [
        value
        for name, value in ours.items()
        if any(word in name for word in SECRET_WORDS) and not name.endswith(PUBLIC_ENDS)
    ]
    logins = [secret for value in ours.values() if "://" in value for secret in secrets_in(value)]
    return mask(text, [*keys, *logins])
