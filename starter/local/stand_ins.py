"""The stand-ins that are programs of this checkout: the sandbox server and the model server."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import urllib.request
from dataclasses import dataclass
from datetime import timedelta

from starter.local.ground import Ground
from starter.local.parts import Part, Started
from starter.local.s3 import answers
from starter.local.supervisor import Service, plain_environment

KEY = "NIGHTSHIFT_LOCAL_KEY"
UPLOADS = "NIGHTSHIFT_UPLOAD_HOSTS"
VERSION = "local"


async def start_sandbox(ground: Ground) -> Started:
    """Start the server that speaks E2B's protocol."""
    key = "e2b_" + ground.home.secret("sandbox")
    address = await _start(ground, Part.SANDBOX, "starter.local.sandbox", key)
    if not await asyncio.to_thread(_has_walls, address):
        ground.progress(
            "warning: sandboxes run on this machine without isolation, as bubblewrap does not work here; "
            "scripted builds may, a real model is refused"
        )
    return Started(
        part=Part.SANDBOX,
        address=address,
        version=VERSION,
        environment={"E2B_API_URL": address, "E2B_SANDBOX_URL": address, "E2B_API_KEY": key},
    )


async def start_model(ground: Ground) -> Started:
    """Start the server that speaks the Messages API."""
    key = "local-" + ground.home.secret("model")
    address = await _start(ground, Part.MODEL, "starter.local.model", key)
    return Started(
        part=Part.MODEL,
        address=address,
        version=VERSION,
        environment={"ANTHROPIC_BASE_URL": address, "ANTHROPIC_API_KEY": key},
    )


def _has_walls(address: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{address}/healthz", timeout=10) as reply:
        return bool(json.load(reply)["isolated"])


async def _start(ground: Ground, part: Part, module: str, key: str) -> str:
    port = ground.ports.claim(part)
    data = ground.home.part(part)
    allowed = {name: value for name, value in os.environ.items() if name.startswith("NIGHTSHIFT_")}
    address = f"http://127.0.0.1:{port}"
    await ground.supervisor.start(
        Service(
            name=part,
            argv=(sys.executable, "-m", module, "--port", str(port), "--data", str(data)),
            environment=plain_environment() | allowed | {KEY: key, UPLOADS: ground.upload_hosts},
            cwd=ground.root,
            stage=2,
            stop_limit=timedelta(seconds=20),
            ready=_Readiness(address + "/healthz"),
        )
    )
    return address


@dataclass(frozen=True, slots=True)
class _Readiness:
    url: str

    async def __call__(self, pid: int) -> bool:
        return await asyncio.to_thread(answers, self.url)
