"""The migrations make what the queries expect, from any number of processes."""

import asyncio
import uuid
from collections.abc import Mapping

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, insert, make_url, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from activities.database import IDLE, upgrade_database
from activities.money_tables import plan_tiers, users
from activities.sandbox_rows import SandboxRows
from activities.tables import installation, metadata


def differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_server_default": True})
    return list(compare_metadata(context, metadata))


async def test_tables_are_what_the_migrations_make(engine):
    """Nothing is missing from the schema, nor more in it than the queries know."""
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_two_processes_upgrade_at_once(servers: Mapping[str, str]):
    """A new database is brought up once, whoever comes first; coming again changes nothing."""
    url = make_url(servers["DATABASE_URL"])
    admin = await asyncpg.connect(url.set(drivername="postgresql").render_as_string(hide_password=False))
    await admin.execute("CREATE DATABASE fresh")
    await admin.close()
    fresh = url.set(database="fresh").render_as_string(hide_password=False)
    await asyncio.gather(*(upgrade_database(fresh) for _ in range(4)))
    engine = create_async_engine(fresh, poolclass=NullPool)
    minted = await SandboxRows(engine).installation()
    await upgrade_database(fresh)
    async with engine.connect() as connection:
        tiers = dict((await connection.execute(select(plan_tiers.c.slug, plan_tiers.c.cycle_budget))).all())
        local = (await connection.execute(select(users.c.tier, users.c.timezone).filter_by(id="local"))).one()
    kept = await SandboxRows(engine).installation()
    await engine.dispose()

    assert tiers == {"bootstrapper": 30_000_000, "partner": 120_000_000, "cto_scale": 450_000_000}
    assert tuple(local) == ("partner", "UTC")
    assert minted == kept


async def test_each_database_is_an_installation_of_its_own(engine):
    """Its id is minted once and has one row: another is refused."""
    async with engine.connect() as connection:
        with pytest.raises(IntegrityError):
            await connection.execute(insert(installation).values(id="another"))
    async with engine.connect() as connection:
        with pytest.raises(IntegrityError):
            await connection.execute(insert(installation).values(id="another", is_this=False))

    assert uuid.UUID(await SandboxRows(engine).installation())


async def test_a_transaction_whose_process_is_gone_ends(engine):
    """A worker that stands still in a transaction, or whose machine is lost, does not keep its locks."""
    async with engine.connect() as connection:
        await connection.rollback()
        told = await connection.execute(text("SHOW idle_in_transaction_session_timeout"))

        assert IDLE == told.scalar_one()
