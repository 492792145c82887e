"""What `make demo-sleep` shows, from its own stack up."""

import json
import sys
from datetime import datetime

import pytest

from starter.attach import DATA_VARIABLE
from tests.e2e.conftest import run


@pytest.mark.timeout(300)
async def test_the_demo_of_sleep(tmp_path_factory):
    """Told that its day runs low it commits, out of money it saves and sleeps, and wakes as told, READY."""
    data = {DATA_VARIABLE: str(tmp_path_factory.mktemp("night"))}
    words = [sys.executable, "-m", "starter", "demo-sleep", "--json", "--midnight-in", "30"]
    code, output = await run(words, data)
    told = json.loads(output.splitlines()[-1])
    midnight, wake_at, woke = (datetime.fromisoformat(told[name]) for name in ("midnight", "wake_at", "woke"))

    assert (0, "READY", 200) == (code, told["status"], told["preview_status"]), output
    assert "Leave the work running and committed now" in told["told"][-1]
    assert "commit -qm" in output
    assert midnight <= wake_at <= woke
    assert told["sleep_snapshot"].endswith("/manifest")
    assert told["sleep_snapshot"] != told["snapshot_key"]
    first, second = told["days"]
    assert 0 < first["spent"] <= first["allowance"]
    assert told["spent_microdollars"] == first["spent"] + second["spent"]
