"""A worker as a child process, and whoever keeps it running."""

from pathlib import Path

import pytest
from temporalio.client import Client

from starter.local.parts import PartFailed
from starter.worker_process import WorkerProcess


async def test_a_server_that_is_away_is_no_bug_of_the_keeper(tmp_path: Path):
    """A worker that cannot begin while the server is away is told as such, so that it is tried again."""
    (tmp_path / "worker.py").write_text("raise SystemExit('nobody answers')")
    client = await Client.connect("127.0.0.1:1", lazy=True)
    worker = WorkerProcess(client, {}, log=tmp_path / "log", say=print, root=tmp_path)

    with pytest.raises(PartFailed, match="nobody answers"):
        await worker.start()
