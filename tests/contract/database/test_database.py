"""The migrations make what the queries expect, from any number of processes."""

import asyncio
from collections.abc import Mapping

import asyncpg
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, make_url, select
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from activities.database import upgrade_database
from activities.money_tables import plan_tiers, users
from activities.tables import metadata


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
    await upgrade_database(fresh)
    engine = create_async_engine(fresh, poolclass=NullPool)
    async with engine.connect() as connection:
        tiers = dict((await connection.execute(select(plan_tiers.c.slug, plan_tiers.c.cycle_budget))).all())
        local = (await connection.execute(select(users.c.tier, users.c.timezone).filter_by(id="local"))).one()
    await engine.dispose()

    assert tiers == {"bootstrapper": 30_000_000, "partner": 120_000_000, "cto_scale": 450_000_000}
    assert tuple(local) == ("partner", "UTC")
