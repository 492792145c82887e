"""A real model is refused where the local sandbox has no walls."""

import contextlib
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from activities.isolation import Unisolated, check_isolation
from activities.settings import Settings


@contextlib.asynccontextmanager
async def sandbox_server(*, isolated: bool) -> AsyncIterator[str]:
    """A server that says whether its sandboxes have walls."""

    async def healthz(_) -> JSONResponse:
        return JSONResponse({"ok": True, "isolated": isolated})

    app = Starlette(routes=[Route("/healthz", healthz)])
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    config = server.config
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await server.shutdown()


def settings(url: str, **given: str) -> Settings:
    values = {
        "E2B_API_URL": url,
        "NIGHTSHIFT_LOCAL_SANDBOX": "true",
        "NIGHTSHIFT_LOCAL_MODEL": "false",
        "NIGHTSHIFT_ALLOW_UNISOLATED": "false",
    }
    return Settings.from_env({**values, **given})


async def test_real_model_without_walls_is_refused():
    """The refusal names what to install or set."""
    async with sandbox_server(isolated=False) as url:
        with pytest.raises(Unisolated, match="NIGHTSHIFT_ALLOW_UNISOLATED"):
            await check_isolation(settings(url))


@pytest.mark.parametrize("given", [{"NIGHTSHIFT_ALLOW_UNISOLATED": "1"}, {"NIGHTSHIFT_LOCAL_MODEL": "true"}])
async def test_accepted_or_scripted_needs_no_walls(given):
    """Someone who accepts it may, and the scripted model needs none."""
    async with sandbox_server(isolated=False) as url:
        await check_isolation(settings(url, **given))


async def test_real_model_within_walls_may_work():
    """Isolation is asked of the server, not assumed."""
    async with sandbox_server(isolated=True) as url:
        await check_isolation(settings(url))
