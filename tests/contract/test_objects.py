"""The rules of `activities/objects.py`, against the real S3 server."""

import hashlib
import uuid

import httpx2
import pytest

from activities.objects import ObjectMissing, Objects, ObjectTooLarge
from activities.settings import Settings

BODY = b"some bytes"
DIGEST = hashlib.sha256(BODY).hexdigest()


def a_key() -> str:
    return f"tests/{uuid.uuid4().hex}/data"


async def put(url: str, headers: dict[str, str], body: bytes) -> int:
    async with httpx2.AsyncClient(trust_env=False) as client:
        return (await client.put(url, headers=headers, content=body)).status_code


async def test_an_object_is_put_once(objects: Objects):
    """The first writer of a key wins; a second one is told and changes nothing."""
    key = a_key()

    first = await objects.put_if_absent(key, BODY, content_type="text/plain")
    second = await objects.put_if_absent(key, b"other", content_type="text/plain")

    assert (first, second) == (True, False)
    assert await objects.get(key, limit=100) == BODY


async def test_a_missing_object_is_said(objects: Objects):
    """Reading and measuring tell absence apart from failure."""
    key = a_key()

    assert await objects.size(key) is None
    with pytest.raises(ObjectMissing):
        await objects.get(key, limit=100)


async def test_a_large_object_is_not_read(objects: Objects):
    """What is larger than the caller allows is refused before its body is read."""
    key = a_key()
    await objects.put_if_absent(key, BODY, content_type="text/plain")

    with pytest.raises(ObjectTooLarge):
        await objects.get(key, limit=len(BODY) - 1)
    assert await objects.size(key) == len(BODY)


async def test_a_presigned_put_takes_one_body_once(objects: Objects):
    """The signature holds the length, the digest and that the key is free."""
    signed = await objects.presign_put(a_key(), sha256=DIGEST, length=len(BODY))
    unconditional = {name: value for name, value in signed.headers.items() if name != "If-None-Match"}

    assert await put(signed.url, signed.headers, b"same size!") >= 400
    assert await put(signed.url, unconditional, BODY) == 403
    assert await put(signed.url, signed.headers, BODY) == 200
    assert await put(signed.url, signed.headers, BODY) == 412


async def test_a_presigned_put_takes_no_other_length(objects: Objects):
    """A longer body under the same URL is refused."""
    signed = await objects.presign_put(a_key(), sha256=DIGEST, length=len(BODY))
    longer = {**signed.headers, "Content-Length": str(len(BODY) + 1)}

    assert await put(signed.url, longer, BODY + b"x") == 403


async def test_a_presigned_get_reads(objects: Objects):
    """A URL reads its one object without a credential."""
    key = a_key()
    await objects.put_if_absent(key, BODY, content_type="text/plain")
    async with httpx2.AsyncClient(trust_env=False) as client:
        answer = await client.get(await objects.presign_get(key))

    assert answer.content == BODY


async def test_opening_twice_finds_the_bucket(settings: Settings):
    """The bucket is made where it is missing and taken as it is where it is there."""
    fresh = settings.model_copy(update={"project_snapshot_bucket": f"bucket-{uuid.uuid4().hex[:12]}"})
    async with Objects.open(fresh), Objects.open(fresh) as second:
        assert await second.size(a_key()) is None
