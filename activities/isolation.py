"""Whether a real model may work here: code that nobody wrote needs walls around it."""

import httpx2

from activities.settings import Settings

LIMIT_SECONDS = 10


class Unisolated(Exception):
    """The local sandbox has no walls, and nobody said that a real model may work in it all the same."""


async def check_isolation(settings: Settings) -> None:
    """Refuse a real model in a local sandbox without isolation; raises Unisolated with the fix."""
    if not settings.local_sandbox or settings.local_model or settings.allow_unisolated:
        return
    async with httpx2.AsyncClient(timeout=LIMIT_SECONDS) as client:
        reply = (await client.get(f"{settings.e2b_api_url}/healthz")).raise_for_status()
    if not reply.json().get("isolated"):
        raise Unisolated(
            "A real model would run its commands on this machine without isolation. Install bubblewrap "
            "(Linux), set E2B_API_KEY for cloud sandboxes, or accept it with NIGHTSHIFT_ALLOW_UNISOLATED=1."
        )
