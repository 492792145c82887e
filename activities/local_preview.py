"""Where the local stand-in shows a port of a sandbox; knows no SDK, which has no such call."""

from http import HTTPStatus

import httpx2

from activities.settings import Settings


async def local_preview(settings: Settings, sandbox_id: str, port: int) -> str | None:
    """Ask the server, which gives each previewed port a listener of its own; none: no such sandbox."""
    url = f"{settings.e2b_api_url}/sandboxes/{sandbox_id}/preview/{port}"
    key = settings.e2b_api_key.get_secret_value()
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
        answer = await client.get(url, headers={"X-API-KEY": key})
    if answer.status_code == HTTPStatus.NOT_FOUND:
        return None
    return str(answer.raise_for_status().json()["url"])
