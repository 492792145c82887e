"""The database's engine and schema: opens it, brings it up to date. Knows no table's meaning."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import Connection, event, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool
from typing_extensions import override

from activities.heartbeat import attend
from activities.settings import Settings

MIGRATIONS = Path(__file__).parent.parent / "migrations"
UPGRADE_LOCK = 0x4E53_0001
"""Advisory lock: two processes may start at once, one migrates, the other finds it done."""
IDLE = "2min"
"""How long a transaction may wait for its process: one whose machine is gone keeps its locks for hours."""
POOL_SIZE = 20
"""Connections that one process keeps; activities hold one only inside a transaction."""


class Database(AsyncEngine):
    """Begins no transaction for an attempt that was given up while it stood still; see `attend`."""

    @override
    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[AsyncConnection]:
        await attend()
        async with super().begin() as connection:
            yield connection


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncGenerator[AsyncEngine]:
    """Open the pool of connections and close it at the end; a connection is tried before it is lent."""
    url = settings.database_url.get_secret_value()
    named = {} if "application_name" in url else {"server_settings": {"application_name": "nightshift"}}
    made = create_async_engine(
        url,
        pool_size=POOL_SIZE,
        max_overflow=POOL_SIZE,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={"command_timeout": 60, **named},
    )
    engine = Database(made.sync_engine)
    event.listen(engine.sync_engine, "connect", _limit_idle)
    try:
        yield engine
    finally:
        await engine.dispose()


def _limit_idle(connection: DBAPIConnection, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute(f"SET idle_in_transaction_session_timeout = '{IDLE}'")
    cursor.close()
    connection.commit()


async def upgrade_database(url: str) -> None:
    """Bring the schema to the newest version; safe to run twice, and from two processes at once.

    `url` is in the form that Settings gives.
    """
    engine = create_async_engine(url, poolclass=NullPool, hide_parameters=True)
    try:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADE_LOCK})
            if await _version(connection) != newest_version():
                await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


def newest_version() -> str:
    """Give the newest version that there is a migration to; their files begin with it."""
    return max(path.name for path in (MIGRATIONS / "versions").glob("*.py")).partition("_")[0]


async def _version(connection: AsyncConnection) -> str | None:
    known = await connection.execute(text("SELECT to_regclass('alembic_version')"))
    if known.scalar_one() is None:
        return None
    return (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar_one_or_none()


def _upgrade(connection: Connection) -> None:
    from alembic import command  # which takes half a second that most starts never need
    from alembic.config import Config

    config = Config(MIGRATIONS / "alembic.ini", attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS))
    command.upgrade(config, "head")
