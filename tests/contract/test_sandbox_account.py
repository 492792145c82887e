"""Our adapters over a whole build's life, on the local server and on a real account of E2B.

The second is marked `e2b_cloud`. No faults are injected, and the bucket is out of the sandboxes' reach in
both, so that the worker carries the files.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.testing import ActivityEnvironment

from activities.events import EventStream
from activities.objects import Objects
from activities.settings import Settings
from tests.contract.conftest import Bench, open_bench
from tests.contract.test_snapshots import TREE, listing
from tests.sandbox_server import CloudAccount, eventually
from workflows.files import ProofStep, SandboxRef

SESSION = 400
"""How long a sandbox lives unless lengthened, seconds: enough to be made, too short for a long command."""
LONG = 600
"""What a command may take, seconds."""
FILES = f"""{TREE}
mkdir -p .git/objects .git/refs/tags && printf 'ref: refs/heads/main' > .git/HEAD
chmod 640 .git/HEAD src/one.py"""
KEPT = (".git/HEAD f 640", ".git/objects d", "empty d", "src/deep/link l", "src/deep/same.py f 640 4 2")
"""Some of what must come back: modes, an empty directory, a symbolic link, a hard link."""


def settings_of(account: str, settings: Settings) -> Settings:
    """Give the settings of a worker on this account; its time is not booked."""
    shared = {
        "sandbox_timeout_seconds": SESSION,
        "sandbox_longest_run_seconds": 3_600,  # which every account allows
        "sandbox_microdollars_per_second": 0,
    }
    if account == "local":
        return settings.model_copy(update=shared)
    key = CloudAccount.of_environment().key
    cloud = {
        "e2b_api_key": type(settings.e2b_api_key)(key),
        "e2b_api_url": "",
        "e2b_sandbox_url": "",
        "e2b_template": os.environ.get("E2B_TEMPLATE", ""),
        "local_sandbox": False,
    }
    return settings.model_copy(update=shared | cloud)


@pytest.fixture(params=["local", pytest.param("cloud", marks=pytest.mark.e2b_cloud)])
async def account(
    request: pytest.FixtureRequest,
    settings: Settings,
    engine: AsyncEngine,
    objects: Objects,
    events: EventStream,
) -> AsyncIterator[Bench]:
    """A worker's adapters on an account that does not reach the bucket; nothing of the build stays there."""
    own = settings_of(request.param, settings)
    async with open_bench(own, engine, objects, events, local_sandbox=False) as made, cleared(made):
        yield made


@asynccontextmanager
async def cleared(bench: Bench) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for each in await bench.client.all({"build": bench.build_id}):
            await bench.client.kill(each.sandbox_id)


async def step(bench: Bench, name: str, sandbox: SandboxRef) -> Any:
    return await ActivityEnvironment().run(getattr(bench.sandboxes, name), bench.step(sandbox))


async def test_files_outlive_their_sandbox(account: Bench):
    """An orphan is adopted, a call runs once, and what was saved is whole in the next generation."""
    row = await account.rows.open(account.build_id, role="build", generation=1)
    metadata = await account.sandboxes._metadata(row)
    orphan = await account.client.create(f"nightshift-{account.build_id}", metadata=metadata)
    sandbox = await account.create()
    head = await account.reply(("t1", "bash", {"command": "echo ran >> log; cat log"}))
    once, again = [await account.run(sandbox, head, "t1", "bash") for _ in range(2)]
    made = await account.bash(sandbox, FILES)
    first = await account.snapshot(sandbox, captured=made.captured)
    changed = await account.bash(sandbox, "rm -r node_modules; printf new > new.py; chmod 600 new.py")
    second = await account.snapshot(
        sandbox, parent=first.restore_point, turn=2, full_scan=True, captured=changed.captured
    )
    before = await listing(account, sandbox)
    await account.client.kill(sandbox.sandbox_id)
    restored = await account.create(2, restore_point=second.restore_point)
    after = await listing(account, restored)
    await step(account, "kill_sandbox", restored)

    async def nothing_is_left() -> bool:
        return not await account.client.all({"build": account.build_id})

    await eventually(nothing_is_left)
    assert orphan == sandbox.sandbox_id != restored.sandbox_id
    assert ["ran", "ran"] == [once.preview.strip(), again.preview.strip()]
    assert before == after
    assert [] == [line for line in (*KEPT, "new.py f 600 3 1") if line not in after]
    assert account.snapshots._uploads._relays
    assert account.restorer._relays


async def test_a_sandbox_is_lengthened_paused_and_served(account: Bench):
    """No session ends amid a command; a pause that was planned keeps the files; the app is seen outside."""
    sandbox = await account.create()
    end = await account.client._end_of(sandbox.sandbox_id)
    began = datetime.now(UTC)
    wrote = await account.bash(sandbox, "printf 'the app' > index.html", seconds=LONG)
    lengthened = await account.client._end_of(sandbox.sandbox_id)
    await step(account, "pause_sandbox", sandbox)
    asleep = not await account.client.is_running(sandbox.sandbox_id)
    found = await step(account, "connect_sandbox", sandbox)
    proof = ProofStep(
        build_id=account.build_id,
        sandbox=sandbox,
        attempt=1,
        start="exec python3 -m http.server $PORT --bind $HOST",
    )
    report = await ActivityEnvironment().run(account.checks.start_preview, proof)
    assert report.passed, report.report
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
        text = (await client.get(report.preview_url)).text

    assert end is not None
    assert end < began + timedelta(seconds=LONG)
    assert lengthened is not None
    assert lengthened >= began + timedelta(seconds=LONG)
    assert not wrote.is_error, wrote.preview
    assert (True, True, "") == (asleep, found.intact, found.reason)
    assert "the app" == text
