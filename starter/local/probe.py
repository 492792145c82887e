"""Asking a part through its real client whether it is there; changes nothing, and never tells a secret."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal
from urllib.parse import parse_qs, urlsplit

from temporalio.api.workflowservice.v1 import GetSystemInfoRequest
from temporalio.client import Client
from temporalio.envconfig import ClientConfig

from starter.local.clients import ask_redis, open_s3, query_postgres
from starter.local.parts import CHOSEN_BY, Part, PartStatus

Environment = Mapping[str, str]
LIMIT = 10.0
"""Seconds a part has to answer."""
LONGEST_REASON = 300


async def probe(part: Part, environment: Environment, *, kind: Literal["real", "stand-in"]) -> PartStatus:
    """What a part answers; one that does not answer is unhealthy, with the reason and what to set."""
    try:
        async with asyncio.timeout(LIMIT):
            version, fix = await PROBES[part](environment), ""
    except TimeoutError:
        version, fix = "", f"no answer within {LIMIT:.0f} s"
    except Exception as error:  # noqa: BLE001 - a probe's whole purpose is to report whatever went wrong
        version, fix = "", f"{type(error).__name__}: {error}"[:LONGEST_REASON]
    names = " and ".join(CHOSEN_BY[part][:2])
    advice = (
        f"check {names}" if kind == "real" else "stop the process that runs the stack, and start it again"
    )
    return PartStatus(
        name=part,
        kind=kind,
        address=address_of(part, environment),
        version=version,
        healthy=not fix,
        fix=f"{_masked(fix, environment)}; {advice}" if fix else "",
    )


def address_of(part: Part, environment: Environment) -> str:
    """Where a part is, without user, password and options."""
    match part:
        case Part.S3:
            place = f"s3://{environment.get('PROJECT_SNAPSHOT_BUCKET', '')}"
            endpoint = environment.get("AWS_ENDPOINT_URL_S3", "")
            return f"{place} at {endpoint}" if endpoint else place
        case Part.TEMPORAL:
            profile = environment.get("TEMPORAL_PROFILE", "default")
            return environment.get("TEMPORAL_ADDRESS", f"profile {profile!r}")
        case Part.SANDBOX:
            return _e2b(environment)
        case Part.MODEL:
            return _anthropic(environment)
        case Part.POSTGRES | Part.REDIS:
            url = urlsplit(environment.get(CHOSEN_BY[part][0], ""))
            port = f":{url.port}" if url.port else ""
            host = url.hostname or "".join(parse_qs(url.query).get("host", []))
            return f"{host}{port}{url.path}"


async def _postgres(environment: Environment) -> str:
    return str(await query_postgres(environment["DATABASE_URL"], "SHOW server_version"))


async def _redis(environment: Environment) -> str:
    server = await ask_redis(environment["REDIS_URL"])
    return str(server.get("valkey_version") or server["redis_version"])


async def _s3(environment: Environment) -> str:
    async with open_s3(environment) as client:
        reply = await client.head_bucket(Bucket=environment["PROJECT_SNAPSHOT_BUCKET"])
        return str(reply["ResponseMetadata"]["HTTPHeaders"].get("server", ""))


async def _temporal(environment: Environment) -> str:
    client = await Client.connect(
        **ClientConfig.load_client_connect_config(override_env_vars=dict(environment))
    )
    return (await client.workflow_service.get_system_info(GetSystemInfoRequest())).server_version


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


def _e2b(environment: Environment) -> str:
    return environment.get("E2B_API_URL") or f"https://api.{environment.get('E2B_DOMAIN') or 'e2b.app'}"


def _anthropic(environment: Environment) -> str:
    return environment.get("ANTHROPIC_BASE_URL") or "https://api.anthropic.com"


async def _get(url: str, headers: dict[str, str]) -> None:
    if not url.startswith(("http://", "https://")):
        raise ValueError("the address must begin with http:// or https://")
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the scheme was checked

    def ask() -> None:
        with urllib.request.urlopen(request, timeout=LIMIT):  # noqa: S310 - the scheme was checked
            pass

    await asyncio.to_thread(ask)


def _masked(text: str, environment: Environment) -> str:
    secrets = [value for name, value in environment.items() if name.endswith(("_KEY", "_TOKEN"))]
    passwords = [urlsplit(value).password for name, value in environment.items() if name.endswith("_URL")]
    for secret in (*secrets, *passwords):
        if secret:
            text = text.replace(secret, "***")
    return text
