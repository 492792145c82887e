"""Reaching the database for a command; no build is touched, and what is wrong is told as a failed part."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from activities.database import open_database
from activities.settings import Settings
from starter.local.parts import PartFailed


@asynccontextmanager
async def open_rows(environment: Mapping[str, str]) -> AsyncGenerator[AsyncEngine]:
    """Open the database that the environment names; raises PartFailed."""
    settings = Settings.from_env(environment)
    if not settings.database_url.get_secret_value():
        raise PartFailed("postgres", why="nothing runs here", fix="start it with `make up`")
    try:
        async with open_database(settings) as engine:
            yield engine
    except (OSError, SQLAlchemyError) as error:
        why = f"it does not answer as it should ({type(error).__name__})"
        raise PartFailed("postgres", why=why, fix="see `make doctor`") from None
