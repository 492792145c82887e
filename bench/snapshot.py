"""Bytes and seconds of snapshots and restores of one tree, three ways: `make bench-snapshot`.

Each round changes one file in a hundred, and each way then saves the same tree, one after the other. Every
restored tree is compared with the one that was saved.
"""

import argparse
import asyncio
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bench import results
from bench.restic import RESTIC, Restic, get_restic
from bench.systems import OURS
from bench.trees import LISTING, MAKE
from bench.ways import ByRestic, Ground, Ours, TarGz, open_ground
from starter.attach import ROOT
from starter.exits import run
from starter.local.parts import Part
from starter.local.stack import open_stack
from starter.running import environment_of
from workflows.files import SandboxRef

PARTS = frozenset({Part.POSTGRES, Part.S3, Part.SANDBOX})
RESTORED = 3
"""How many of the rounds are restored."""
TICKER = "while :; do echo tick > ~/ticker; sleep 0.05; done"
"""A background command that is held still while a capture reads, as a development server is."""
VERSIONS = {Ours.name: OURS.version, TarGz.name: "GNU tar", ByRestic.name: RESTIC.version}


@asynccontextmanager
async def open_bench(data: Path) -> AsyncGenerator[Ground]:
    """Start the parts that snapshots need, in a directory of their own."""
    data.chmod(0o711)
    async with (
        open_stack(ROOT, data=data, parts=PARTS, environment={}) as stack,
        open_ground(environment_of(stack, {})) as ground,
    ):
        yield ground


def restic_of(program: Path, environment: Mapping[str, str], data: Path) -> Restic:
    """Make restic's repository a folder of the same bucket."""
    bucket = f"{environment['AWS_ENDPOINT_URL_S3']}/{environment['PROJECT_SNAPSHOT_BUCKET']}"
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    own = {
        "RESTIC_REPOSITORY": f"s3:{bucket}/restic",
        "RESTIC_PASSWORD": "bench",
        "RESTIC_CACHE_DIR": str(data / "restic-cache"),
        "AWS_DEFAULT_REGION": environment["AWS_REGION"],
    }
    return Restic(program, {**own, **{name: environment[name] for name in names}})


class Race:
    """The ways on one tree."""

    def __init__(self, ground: Ground, sandbox: SandboxRef, ours: Ours, tar: TarGz, restic: ByRestic) -> None:
        self._ground, self._sandbox = ground, sandbox
        self._ours, self._tar, self._restic = ours, tar, restic
        self.rows: list[results.Row] = []

    async def change(self, seed: int, options: argparse.Namespace) -> None:
        """Make the tree, or change 1 % of its files, by a command as the agent runs one."""
        size = options.megabytes * 1_000_000 // options.files
        numbers = f"{options.files} {size} {seed}"
        line = f"python3 - {shlex.quote(self._sandbox.workspace)} {numbers} <<'END'{MAKE}END"
        await self.call(f"change-{seed}", {"command": line})

    async def call(self, claim: str, given: dict[str, Any]) -> None:
        """Run a command as the agent's, without a capture after it."""
        fields = {"claim": claim, "tool": "bash", "input": given, "capture": False}
        answer = await self._ground.workspace.ask(self._sandbox, "call", fields)
        if answer["is_error"]:
            raise RuntimeError(answer["text"])

    async def save(self, number: int, *, kind: str) -> None:
        """Save the tree in each way; the bytes are what the bucket has grown by."""
        for way in (self._ours, self._tar, self._restic):
            before = await self._ground.stored()
            saved = await way.save()
            self._note(way.name, kind, number, bytes=await self._ground.stored() - before, **saved)

    async def restore(self, number: int, data: Path) -> None:
        """Restore in each way, into a fresh sandbox each, and compare."""
        expected = await self._listing(self._sandbox, self._sandbox.workspace)
        for place, way in enumerate((self._ours, self._tar)):
            fresh = await self._ground.create(role="check", generation=2 * number + place)
            began = time.monotonic()
            folder = await way.restore(fresh)
            self._note(way.name, "restore", number, restore_s=time.monotonic() - began)
            self._compare(way.name, expected, await self._listing(fresh, folder))
            await self._ground.workspace.client.kill(fresh.sandbox_id)
        into = data / "restored"
        began = time.monotonic()
        await asyncio.to_thread(self._restic.restore, into)
        self._note(self._restic.name, "restore", number, restore_s=time.monotonic() - began)
        self._compare(self._restic.name, expected, await asyncio.to_thread(_listing_here, into))
        await asyncio.to_thread(shutil.rmtree, into)

    async def _listing(self, sandbox: SandboxRef, folder: str) -> str:
        return await self._ground.run(sandbox, f"cd {shlex.quote(folder)} && {{ {LISTING}; }}")

    def _compare(self, name: str, expected: str, found: str) -> None:
        if found != expected:
            raise RuntimeError(f"{name} restored another tree.")

    def _note(self, name: str, kind: str, number: int, **figures: float) -> None:
        rounded = {key: round(value, 4) for key, value in figures.items()}
        row = {"system": name, "version": VERSIONS[name], "kind": kind, "round": number, **rounded}
        self.rows.append(row)
        print(row, flush=True)


def _listing_here(folder: Path) -> str:
    told = subprocess.run(["sh", "-c", LISTING], cwd=folder, capture_output=True, text=True, check=True)
    return told.stdout


async def measure(
    ground: Ground, program: Path, data: Path, options: argparse.Namespace
) -> list[results.Row]:
    """Play all rounds."""
    sandbox = await ground.create(role="build")
    (source,) = (data / "sandbox").glob(f"**/{sandbox.sandbox_id}/home/workspace")
    restic = ByRestic(restic_of(program, ground.environment, data), source)
    race = Race(ground, sandbox, Ours(ground, sandbox), TarGz(ground, sandbox), restic)
    await race.call("ticker", {"command": TICKER, "background": True})
    await race.change(0, options)
    await race.save(0, kind="first")
    restored = {options.rounds * part // RESTORED for part in range(1, RESTORED + 1)}
    for number in range(1, options.rounds + 1):
        await race.change(number, options)
        await race.save(number, kind="increment")
        if number in restored:
            await race.restore(number, data)
    await ground.workspace.client.kill(sandbox.sandbox_id)
    return race.rows


async def main(options: argparse.Namespace) -> int:
    """Measure the three ways, side by side."""
    program = await get_restic()
    data = Path(tempfile.mkdtemp(prefix="nightshift-bench-"))
    try:
        async with open_bench(data) as ground:
            rows = await measure(ground, program, data, options)
    finally:
        shutil.rmtree(data, ignore_errors=True)
    tree: dict[str, Any] = {"files": options.files, "megabytes": options.megabytes}
    results.write("snapshot", [{**row, **tree} for row in rows])
    return 0


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=18)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--megabytes", type=int, default=100)
    return parser.parse_args()


if __name__ == "__main__":
    run(main(parse()))
