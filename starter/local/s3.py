"""The embedded S3: versitygw over a directory; it checks signatures and its conditional writes are atomic."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path

from starter.local.clients import open_s3
from starter.local.go import GoProgram, go_program
from starter.local.ground import Ground, check_engine
from starter.local.parts import Part, PartFailed, Progress, Started
from starter.local.supervisor import Service, plain_environment

GATEWAY = GoProgram(
    name="versitygw",
    version="1.8.0",
    package="github.com/versity/versitygw/cmd/versitygw",
    expected=timedelta(minutes=3),
    oldest_go=(1, 26),
    fix="put versitygw 1.8 or newer on PATH, install Go, or set PROJECT_SNAPSHOT_BUCKET and the AWS settings",
)
OLDEST = (1, 8)
"""Conditional writes are not atomic before."""
REGION = "us-east-1"
BUCKET = "nightshift-snapshots"
HEALTH = "/.nightshift-health"


async def start(ground: Ground) -> Started:
    """Start the gateway on its directory, and make sure of the bucket."""
    program = await find_gateway(progress=ground.progress)
    data = ground.home.part("s3")
    keeping = await asyncio.to_thread(_metadata_keeping, data)
    check_engine(data, part=Part.S3, engine=f"{GATEWAY.name} {keeping}")
    address = f"http://127.0.0.1:{ground.ports.claim(Part.S3)}"
    environment = {
        "AWS_ENDPOINT_URL_S3": address,
        "AWS_ACCESS_KEY_ID": f"NS{ground.home.secret('s3-access')[:18].upper()}",
        "AWS_SECRET_ACCESS_KEY": ground.home.secret("s3-secret"),
        "AWS_REGION": REGION,
        "PROJECT_SNAPSHOT_BUCKET": BUCKET,
    }
    await ground.supervisor.start(_service(program, data, environment, sidecar=keeping == "sidecar"))
    if not (data / "objects" / BUCKET).exists():
        await _make_bucket(environment)
    return Started(part=Part.S3, address=address, version=GATEWAY.version, environment=environment)


async def find_gateway(*, progress: Progress) -> Path:
    """The gateway on PATH if it is new enough, else from the cache, else built now."""
    on_path = shutil.which(GATEWAY.name)
    if on_path and await asyncio.to_thread(_module_version, Path(on_path)) >= OLDEST:
        return Path(on_path)
    return await go_program(GATEWAY, progress=progress)


def _module_version(program: Path) -> tuple[int, int]:
    # `--version` says "git" after `go install`; Go itself writes the module's version into each program.
    found = re.search(rb"\tgithub\.com/versity/versitygw\tv(\d+)\.(\d+)\.", program.read_bytes())
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _metadata_keeping(data: Path) -> str:
    """How metadata is kept: `xattr` where the file system can, else `sidecar`; once chosen it stays."""
    stamp = data / "engine"
    if stamp.exists():
        return stamp.read_text().strip().rpartition(" ")[2]
    probe = data / f"probe-{secrets.token_hex(4)}"
    probe.touch()
    try:
        os.setxattr(probe, "user.nightshift", b"x")
    except (OSError, AttributeError):
        # macOS has no os.setxattr, but its file systems have the attributes.
        return "sidecar" if hasattr(os, "setxattr") else "xattr"
    finally:
        probe.unlink()
    return "xattr"


def _service(program: Path, data: Path, environment: dict[str, str], *, sidecar: bool) -> Service:
    for name in ("objects", "sidecar"):
        (data / name).mkdir(mode=0o700, exist_ok=True)
    address = environment["AWS_ENDPOINT_URL_S3"]
    argv = [str(program), "--port", address.removeprefix("http://"), "--region", REGION, "--quiet"]
    argv += ["--health", HEALTH, "posix"]
    argv += ["--sidecar", str(data / "sidecar")] if sidecar else []
    return Service(
        name=Part.S3,
        argv=(*argv, str(data / "objects")),
        environment=plain_environment()
        | {
            "ROOT_ACCESS_KEY": environment["AWS_ACCESS_KEY_ID"],
            "ROOT_SECRET_KEY": environment["AWS_SECRET_ACCESS_KEY"],
        },
        cwd=data,
        ready=_Readiness(address + HEALTH),
        fix=GATEWAY.fix,
    )


@dataclass(frozen=True, slots=True)
class _Readiness:
    url: str

    async def __call__(self, pid: int) -> bool:
        return await asyncio.to_thread(answers, self.url)


def answers(url: str) -> bool:
    """Whether a plain GET is answered with 200 within two seconds."""
    with suppress(OSError, urllib.error.URLError):
        # No proxy of the environment may stand between us and our own loopback address.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=2) as reply:
            return reply.status == HTTPStatus.OK
    return False


async def _make_bucket(environment: dict[str, str]) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    async with open_s3(environment) as client:
        try:
            await client.create_bucket(Bucket=BUCKET)
        except (BotoCoreError, ClientError) as error:
            raise PartFailed(Part.S3, why=f"the bucket cannot be made: {error}", fix=GATEWAY.fix) from error
