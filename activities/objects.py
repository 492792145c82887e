"""The bucket: put once, get, presign, delete. Knows S3 and nothing of snapshots, builds or sandboxes.

Every key ends in a fixed word (`…/data`, `…/manifest`, `…/image`), because some S3 servers refuse a key
that is both an object and a folder.
"""

import base64
import hashlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Protocol

import aioboto3
from botocore.config import Config
from botocore.exceptions import ClientError

from activities.heartbeat import attend
from activities.reach import is_private
from activities.settings import Settings

PRESIGNED_SECONDS = 900
"""How long a presigned URL is good for, seconds; a later attempt presigns anew."""
_ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})
_PRESENT = frozenset({"412", "PreconditionFailed"})


class PresignedPut(NamedTuple):
    """A URL that takes one body of one length and digest, once."""

    url: str
    headers: dict[str, str]
    """To be sent as they are: they are part of the signature."""


class ObjectMissing(Exception):
    """No object has this key."""


class ObjectTooLarge(Exception):
    """The object is larger than the reader allows."""


class _Body(Protocol):
    async def read(self, amt: int | None = None) -> bytes: ...


class _Client(Protocol):
    async def put_object(self, **arguments: Any) -> Mapping[str, Any]: ...
    async def get_object(self, **arguments: Any) -> Mapping[str, Any]: ...
    async def head_object(self, **arguments: Any) -> Mapping[str, Any]: ...
    async def delete_object(self, **arguments: Any) -> Mapping[str, Any]: ...
    async def head_bucket(self, **arguments: Any) -> Mapping[str, Any]: ...
    async def create_bucket(self, **arguments: Any) -> Mapping[str, Any]: ...
    async def generate_presigned_url(self, method: str, **arguments: Any) -> str: ...


class Objects:
    """One bucket."""

    def __init__(self, client: _Client, *, bucket: str, is_private: bool) -> None:
        self._client = client
        self._bucket = bucket
        self.is_private = is_private
        """Whether only this machine or its network can reach the server."""

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncGenerator["Objects"]:
        """Open the bucket that the settings name, creating it where it is missing."""
        async with _connect(settings) as client:
            objects = cls(
                client,
                bucket=settings.project_snapshot_bucket,
                is_private=await is_private(settings.aws_endpoint_url_s3),
            )
            await objects.ensure_bucket(settings.aws_region)
            yield objects

    async def ensure_bucket(self, region: str) -> None:
        """Create the bucket unless it is there; two starting workers may both try."""
        try:
            await self._client.head_bucket(Bucket=self._bucket)
        except ClientError as error:
            if _code(error) not in _ABSENT | {"NoSuchBucket"}:
                raise
            await self._create_bucket(region)

    async def _create_bucket(self, region: str) -> None:
        place = {"CreateBucketConfiguration": {"LocationConstraint": region}}
        extra = {} if region == "us-east-1" else place
        try:
            await self._client.create_bucket(Bucket=self._bucket, **extra)
        except ClientError as error:
            if _code(error) not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
                raise

    async def put_if_absent(self, key: str, body: bytes, *, content_type: str) -> bool:
        """Write an object once; false when the key was taken already."""
        try:
            await self._client.put_object(
                Bucket=self._bucket,
                Key=key,
                Body=body,
                ContentType=content_type,
                ChecksumSHA256=_checksum(hashlib.sha256(body).hexdigest()),
                IfNoneMatch="*",
            )
        except ClientError as error:
            if _code(error) in _PRESENT:
                return False
            raise
        return True

    async def get(self, key: str, *, limit: int) -> bytes:
        """Read a whole object of at most `limit` bytes.

        Raises ObjectMissing, ObjectTooLarge.
        """
        try:
            answer = await self._client.get_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if _code(error) in _ABSENT:
                raise ObjectMissing(f"There is no object {key!r} in bucket {self._bucket!r}.") from None
            raise
        length = int(answer["ContentLength"])
        if length > limit:
            raise ObjectTooLarge(f"Object {key!r} has {length} bytes; at most {limit} are read.")
        body: _Body = answer["Body"]
        return await body.read()

    async def size(self, key: str) -> int | None:
        """Tell an object's length in bytes; none when there is no such object."""
        try:
            answer = await self._client.head_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if _code(error) in _ABSENT:
                return None
            raise
        return int(answer["ContentLength"])

    async def delete(self, key: str) -> None:
        """Delete an object; one that is gone already is no failure."""
        await attend()
        await self._client.delete_object(Bucket=self._bucket, Key=key)

    async def presign_put(self, key: str, *, sha256: str, length: int) -> PresignedPut:
        """Sign a URL that takes this digest and length (bytes), and only while the key is free."""
        url = await self._client.generate_presigned_url(
            "put_object",
            Params={
                "Bucket": self._bucket,
                "Key": key,
                "ContentLength": length,
                "ChecksumSHA256": _checksum(sha256),
                "IfNoneMatch": "*",
            },
            ExpiresIn=PRESIGNED_SECONDS,
        )
        headers = {
            "Content-Length": str(length),
            "x-amz-checksum-sha256": _checksum(sha256),
            "If-None-Match": "*",
        }
        return PresignedPut(url, headers)

    async def presign_get(self, key: str) -> str:
        """Sign a URL that reads one object."""
        return await self._client.generate_presigned_url(
            "get_object", Params={"Bucket": self._bucket, "Key": key}, ExpiresIn=PRESIGNED_SECONDS
        )


@asynccontextmanager
async def _connect(settings: Settings) -> AsyncGenerator[_Client]:
    """Open the vendor's client; retries are Temporal's, path style suits servers without a domain."""
    session: Any = aioboto3.Session(
        aws_access_key_id=settings.aws_access_key_id.get_secret_value() or None,
        aws_secret_access_key=settings.aws_secret_access_key.get_secret_value() or None,
        region_name=settings.aws_region,
    )
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path" if settings.aws_endpoint_url_s3 else "auto"},
        retries={"total_max_attempts": 1},
        connect_timeout=10,
        read_timeout=60,
    )
    async with session.client(
        "s3", endpoint_url=settings.aws_endpoint_url_s3 or None, config=config
    ) as client:
        yield client


def _code(error: ClientError) -> str:
    answer: dict[str, Any] = error.response  # pyright: ignore[reportAssignmentType] the vendor's TypedDict is partial
    return str(answer.get("Error", {}).get("Code", ""))


def _checksum(sha256: str) -> str:
    return base64.b64encode(bytes.fromhex(sha256)).decode()
