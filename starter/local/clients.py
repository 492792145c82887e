"""Short-lived clients for setting parts up and asking how they are, typed where the vendors are not."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, cast

from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from activities.settings import Settings

LIMIT = 10
"""Seconds to connect in."""


async def query_postgres(url: str, statement: str) -> object:
    """The single answer to one statement, run outside a transaction; `url` as SQLAlchemy takes it."""
    engine = create_async_engine(
        url,
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args={"timeout": LIMIT},
    )
    try:
        async with engine.connect() as connection:
            reply = await connection.execute(text(statement))
            return cast("object", reply.scalar()) if reply.returns_rows else None
    finally:
        await engine.dispose()


async def ask_redis(url: str) -> Mapping[str, object]:
    """What the server says of itself."""
    client = cast("Any", Redis.from_url(url, socket_connect_timeout=LIMIT))  # pyright: ignore[reportUnknownMemberType]  # its keywords are untyped
    try:
        return cast("Mapping[str, object]", await client.info("server"))
    finally:
        await client.aclose()


@asynccontextmanager
async def open_s3(environment: Mapping[str, str]) -> AsyncGenerator[Any]:
    """A client that signs with the keys given, else with those the vendor's chain finds."""
    # Loading the vendor takes a second, and most starts need it only to make the bucket once.
    import aioboto3
    from botocore.config import Config

    session = cast(
        "Any",
        aioboto3.Session(
            aws_access_key_id=environment.get("AWS_ACCESS_KEY_ID") or None,
            aws_secret_access_key=environment.get("AWS_SECRET_ACCESS_KEY") or None,
            aws_session_token=environment.get("AWS_SESSION_TOKEN") or None,
            region_name=environment.get("AWS_REGION") or Settings.model_fields["aws_region"].default,
        ),
    )
    config = Config(connect_timeout=LIMIT, read_timeout=LIMIT, retries={"total_max_attempts": 2})
    async with session.client(
        "s3", endpoint_url=environment.get("AWS_ENDPOINT_URL_S3") or None, config=config
    ) as client:
        yield client


async def has_bucket(bucket: str, environment: Mapping[str, str]) -> bool:
    """Whether the server that answers has the bucket; raises the vendor's error where it may not be used."""
    from botocore.exceptions import ClientError

    async with open_s3(environment) as client:
        try:
            await client.head_bucket(Bucket=bucket)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == HTTPStatus.NOT_FOUND:
                return False
            raise
    return True
