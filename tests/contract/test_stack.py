import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from botocore.exceptions import ClientError
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import text
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client

from activities.database import open_database, upgrade_database
from activities.settings import Settings
from starter.local.parts import Part, PartFailed
from starter.local.probe import probe
from starter.local.stack import Stack, open_stack
from starter.local.survey import survey
from starter.local.temporal import find_cli, installation_at
from tests.held_stack import (
    ROOT,
    SERVERS,
    STORES,
    arguments_of,
    children,
    connect,
    s3_client,
    secrets_of,
)


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    data = tmp_path_factory.mktemp("stack") / "n"
    async with open_stack(ROOT, data=data, parts=SERVERS, fast=True, environment={}) as stack:
        yield stack


async def test_postgres_answers_as_a_plain_user(stack: Stack):
    """The database is there, and root's rights are not behind it."""
    connection = await connect(stack)
    try:
        assert "nightshift" == await connection.fetchval("SELECT current_database()")
        assert await connection.fetchval("SELECT current_setting('server_version_num')::int") >= 150_000
        with pytest.raises(asyncpg.PostgresError):
            await connection.execute("COPY (SELECT 1) TO '/root/nightshift-was-here'")
    finally:
        await connection.close()


async def test_postgres_wants_its_password(stack: Stack):
    """Reaching the socket is not enough to read the builds."""
    address = stack.environment["DATABASE_URL"].replace("+asyncpg", "")
    secret = address.partition("nightshift:")[2].partition("@")[0]
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(address.replace(secret, "wrong"))


async def test_redis_answers(stack: Stack):
    """The address works with redis-py unchanged, streams included."""
    async with Redis.from_url(stack.environment["REDIS_URL"]) as client:
        await client.xadd("events", {"kind": "test"})

        assert 1 == await client.xlen("events")


async def test_redis_wants_its_password(stack: Stack):
    """Without the password the server tells nothing."""
    address = stack.environment["REDIS_URL"]
    async with Redis.from_url("unix://" + address.partition("@")[2]) as client:
        with pytest.raises(RedisError, match="authenticated"):
            await client.ping()


async def test_s3_writes_once_under_a_condition(stack: Stack):
    """Of two writers that both ask for an absent key, one is refused."""
    bucket = stack.environment["PROJECT_SNAPSHOT_BUCKET"]
    async with s3_client(stack) as client:
        await client.put_object(Bucket=bucket, Key="a/data", Body=b"first", IfNoneMatch="*")
        with pytest.raises(ClientError, match="PreconditionFailed"):
            await client.put_object(Bucket=bucket, Key="a/data", Body=b"second", IfNoneMatch="*")
        reply = await client.get_object(Bucket=bucket, Key="a/data")

        assert b"first" == await reply["Body"].read()


async def test_s3_checks_signatures(stack: Stack):
    """A wrong secret is refused, as the real S3 would."""
    async with s3_client(stack, aws_secret_access_key="wrong") as client:
        with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
            await client.list_buckets()


async def test_temporal_knows_what_builds_are_listed_by(stack: Stack):
    """The server has the search attributes, and bears the mark of this checkout."""
    client = await Client.connect(stack.environment["TEMPORAL_ADDRESS"])
    reply = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )

    assert IndexedValueType.INDEXED_VALUE_TYPE_INT == reply.custom_attributes["BuildSpentCents"]
    assert IndexedValueType.INDEXED_VALUE_TYPE_DATETIME == reply.custom_attributes["BuildWakeAt"]
    assert stack.home.installation == await installation_at(stack.environment["TEMPORAL_ADDRESS"])


async def test_the_cli_finds_the_server_by_the_named_file(stack: Stack):
    """The file that the stack names is all the Temporal CLI needs, for any command."""
    cli = await find_cli(progress=print)
    process = await asyncio.create_subprocess_exec(
        cli, "workflow", "list", "--env-file", stack.env_file, stderr=asyncio.subprocess.PIPE
    )

    assert (b"", 0) == ((await process.communicate())[1], process.returncode)


async def test_no_secret_is_in_sight(stack: Stack):
    """Neither the arguments of a process nor what is told of the parts holds a secret."""
    secrets = secrets_of(stack.home.directory)
    shown = " ".join(str(part) for part in stack.parts)
    shown += " ".join(arguments_of(pid) for pid in children(stack.home.directory))

    assert 4 == len(secrets)
    assert [] == [secret for secret in secrets if secret in shown]


async def test_each_part_is_told_of(stack: Stack):
    """Name, kind, version and health of each part, from the stack itself and from a look at it later."""
    looked = {part.name: part for part in await survey(ROOT, data=stack.home.directory)}

    assert sorted(SERVERS) == sorted(part.name for part in stack.parts)
    assert all(part.healthy and part.version and part.kind == "stand-in" for part in stack.parts)
    assert sorted(SERVERS) == sorted(name for name, part in looked.items() if part.healthy)
    assert "`make up` starts it" == looked[Part.MODEL].fix


async def test_a_second_process_shares_and_stops_nothing(stack: Stack):
    """Opening the stack again gives the same addresses, and closing that leaves everything running."""
    async with open_stack(ROOT, data=stack.home.directory, parts=STORES, environment={}) as second:
        shared = second.environment

    assert shared == {name: stack.environment[name] for name in shared}
    connection = await connect(stack)
    await connection.close()


async def test_a_part_that_the_running_stack_lacks(stack: Stack):
    """Sharing a stack that has not what is needed says so instead of starting half of another."""
    with pytest.raises(PartFailed, match="model: the stack that this checkout runs already"):
        async with open_stack(ROOT, data=stack.home.directory, parts=frozenset({Part.MODEL}), environment={}):
            pass


async def test_a_real_part_replaces_its_stand_in_alone(stack: Stack, tmp_path: Path):
    """With the address of one real service set, that one is used and asked, and the others are embedded."""
    address = stack.environment["DATABASE_URL"]
    parts = frozenset({Part.POSTGRES, Part.REDIS})
    outside = {"DATABASE_URL": address}
    async with open_stack(ROOT, data=tmp_path / "n", parts=parts, fast=True, environment=outside) as other:
        assert address == other.environment["DATABASE_URL"]
        assert stack.environment["REDIS_URL"] != other.environment["REDIS_URL"]
        assert [("postgres", "real", True), ("redis", "stand-in", True)] == [
            (part.name, part.kind, part.healthy) for part in other.parts
        ]


async def test_a_real_part_out_of_reach_is_told_with_what_to_check(tmp_path: Path):
    """A real service that does not answer is unhealthy, named with its setting and without its password."""
    outside = {"DATABASE_URL": "postgresql+asyncpg://me:hidden@127.0.0.1:1/x"}
    parts = frozenset({Part.POSTGRES})
    async with open_stack(ROOT, data=tmp_path / "n", parts=parts, environment=outside) as stack:
        (part,) = stack.parts

        assert (False, "127.0.0.1:1/x") == (part.healthy, part.address)
        assert part.fix.endswith("check DATABASE_URL")
        assert "hidden" not in str(part)


async def test_local_sandboxes_work_with_a_store_at_the_usual_port(tmp_path: Path):
    """A store is named as its provider writes it: https, no port, perhaps a slash."""
    outside = {"AWS_ENDPOINT_URL_S3": "https://s3.example.com/"}
    parts = frozenset({Part.SANDBOX})
    async with open_stack(ROOT, data=tmp_path / "n", parts=parts, fast=True, environment=outside) as stack:
        assert [("sandbox", "stand-in", True)] == [
            (part.name, part.kind, part.healthy) for part in stack.parts
        ]


async def test_a_store_that_cannot_be_understood_is_refused_by_its_setting(tmp_path: Path):
    """Before anything is started, and without what may be a login."""
    outside = {"AWS_ENDPOINT_URL_S3": "https://me:hidden@s3.example.com:port"}
    parts = frozenset({Part.SANDBOX})
    with pytest.raises(PartFailed, match="AWS_ENDPOINT_URL_S3 cannot be understood") as refused:
        async with open_stack(ROOT, data=tmp_path / "n", parts=parts, environment=outside):
            pass

    assert "write it as https://HOST" in str(refused.value)
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
async def test_a_database_named_as_people_know_it_serves_doctor_migrations_and_engine(
    stack: Stack, scheme: str
):
    """One address with libpq's options: what the doctor calls well, the worker can use."""
    address = stack.environment["DATABASE_URL"].replace("postgresql+asyncpg", scheme)
    given = {"DATABASE_URL": f"{address}&sslmode=disable&application_name=people"}
    status = await probe(Part.POSTGRES, given, kind="real")
    settings = Settings.from_env(given)
    await upgrade_database(settings.database_url.get_secret_value())
    async with open_database(settings) as engine, engine.connect() as connection:
        name = await connection.scalar(text("SHOW application_name"))

    assert (True, "people") == (status.healthy, name), status.reason


async def test_the_certificates_that_a_person_names_are_used(stack: Stack):
    """Options that the driver takes no argument for are not dropped."""
    address = stack.environment["DATABASE_URL"].replace("+asyncpg", "").replace("@/", "@127.0.0.1:1/")
    status = await probe(
        Part.POSTGRES, {"DATABASE_URL": f"{address}&sslmode=require&sslrootcert=/nowhere.pem"}, kind="real"
    )

    assert "No such file" in status.reason


async def test_a_namespace_that_the_server_lacks_is_told(stack: Stack):
    """A server that answers is not enough: a worker would wait for its namespace."""
    environment = {**stack.environment, "TEMPORAL_NAMESPACE": "nobody-made-it"}
    status = await probe(Part.TEMPORAL, environment, kind="real")

    assert "no namespace 'nobody-made-it'" in status.reason
    assert "TEMPORAL_NAMESPACE" in status.fix


async def test_a_bucket_that_is_to_be_made_is_well(stack: Stack):
    """The worker makes it; without a name it is the usual one."""
    environment = {**stack.environment, "PROJECT_SNAPSHOT_BUCKET": ""}
    status = await probe(Part.S3, environment, kind="real")

    assert (True, "s3://nightshift-snapshots") == (status.healthy, status.address.partition(" ")[0])
