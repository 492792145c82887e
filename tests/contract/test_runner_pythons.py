"""Every command works on every Python that the runner promises, from 3.8 on."""

from pathlib import Path

import pytest

from tests.runner_box import Box, interpreters
from tests.runner_store import publish

PYTHONS = interpreters()


@pytest.mark.parametrize("version", PYTHONS)
def test_all_commands(tmp_path: Path, version: str):
    """No command fails on this Python, and a capture can be restored from its own packs."""
    box = Box(tmp_path / "home", python=PYTHONS[version], unpacked=False)
    probed = box.run("probe")
    ran = box.bash("a", "echo hi > f; ln -s f l; sleep 600 &", capture=True)
    box.call("w", "write_file", {"path": "g", "content": "old"})
    edited = box.call("e", "edit_file", {"path": "g", "old_string": "old", "new_string": "new"}, capture=True)
    searched = [box.run("read_file", path="f"), box.run("grep", pattern="hi"), box.run("glob", pattern="*")]
    pending = box.run("pending")
    packs = [pack["sha256"] for row in pending["captures"] for pack in row["packs"]]
    kept = {pack: tmp_path / pack for pack in packs}
    for pack, path in kept.items():
        path.write_bytes(box.state("packs", pack).read_bytes())
    restored = Box(tmp_path / "other", python=PYTHONS[version])
    answer = restored.run(
        "restore",
        manifest_path=pending["manifest"]["path"],
        packs={p: {"path": str(f)} for p, f in kept.items()},
    )
    others = [
        box.run("upload", packs={packs[0]: {"exists": True}}),
        publish(box, pending["manifest"], "k"),
        box.run("mark", nonce="n"),
        box.run("verify", nonce="n"),
        box.run("processes"),
        box.run("screenshot", port=1),
        box.run("stop_processes"),
    ]

    assert probed["python"].startswith(version + ".")
    assert (ran["capture"]["number"], edited["capture"]["number"]) == (1, 2)
    assert [found["is_error"] for found in searched] == [False] * 3
    assert (restored.workspace / "l").read_text() == "hi\n"
    assert answer["files"] == 4
    assert [row for row in others if "error" in row] == []
