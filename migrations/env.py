"""How Alembic reaches the database: the connection it is handed, else the one that the settings name."""

import asyncio

from alembic import context
from sqlalchemy import Connection

from activities import money_tables, tables
from activities.columns import metadata
from activities.database import open_database
from activities.settings import Settings

assert money_tables.metadata is tables.metadata is metadata  # both are registered by being imported


def _migrate(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata)
    with context.begin_transaction():
        context.run_migrations()


async def _connect_and_migrate() -> None:
    async with open_database(Settings.from_env()) as engine, engine.begin() as connection:
        await connection.run_sync(_migrate)


if isinstance(given := context.config.attributes.get("connection"), Connection):
    _migrate(given)
else:
    asyncio.run(_connect_and_migrate())
