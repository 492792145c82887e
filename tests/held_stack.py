"""Stacks that tests start and kill: in processes of their own, and what is left of them."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import cast

import aioboto3
import asyncpg

from starter.local.parts import Part
from starter.local.processes import started_at
from starter.local.stack import Stack

ROOT = Path(__file__).parents[1]
STORES = frozenset({Part.POSTGRES, Part.REDIS, Part.S3})
SERVERS = STORES | {Part.TEMPORAL}
HOLD = """
import asyncio, sys
from pathlib import Path
from starter.local.parts import Part, PartFailed
from starter.local.stack import open_stack

async def main():
    parts = frozenset(Part(name) for name in sys.argv[2:])
    async with open_stack(Path.cwd(), data=Path(sys.argv[1]), parts=parts, environment={}) as stack:
        print("up", flush=True)
        await stack.wait()

try:
    asyncio.run(main())
except PartFailed as failed:
    sys.exit(str(failed))
"""


def children(data: Path) -> dict[int, str]:
    state = json.loads((data / "stack.json").read_text())
    return {int(pid): start for pid, start in cast("dict[str, str]", state["children"]).items()}


def secrets_of(data: Path) -> list[str]:
    return [path.read_text() for path in (data / "secrets").iterdir()]


def arguments_of(pid: int) -> str:
    return subprocess.run(
        ["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=True
    ).stdout


def alive(processes: dict[int, str]) -> list[int]:
    return [pid for pid, start in processes.items() if started_at(pid) == start]


async def all_gone(processes: dict[int, str]) -> None:
    async with asyncio.timeout(30):
        while alive(processes):
            await asyncio.sleep(0.02)


async def hold(data: Path, parts: frozenset[Part]) -> asyncio.subprocess.Process:
    """A process of its own that runs a stack."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", HOLD, str(data), *sorted(parts)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdout is not None
    assert b"up\n" == await process.stdout.readline()
    return process


async def connect(stack: Stack) -> asyncpg.Connection:
    return await asyncpg.connect(stack.environment["DATABASE_URL"].replace("+asyncpg", ""))


def s3_client(stack: Stack, **changed: str):
    keys = {
        "aws_access_key_id": stack.environment["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": stack.environment["AWS_SECRET_ACCESS_KEY"],
    }
    session = aioboto3.Session(**(keys | changed), region_name=stack.environment["AWS_REGION"])
    return session.client("s3", endpoint_url=stack.environment["AWS_ENDPOINT_URL_S3"])
