"""A home directory with the real runner archive in it, run as the sandbox runs it."""

import atexit
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from activities.runner_archive import archive

Answer = dict[str, Any]


@cache
def unpacked_once() -> Path:
    """Where this process keeps the runner's archive unpacked, by the runner itself."""
    kept = tempfile.TemporaryDirectory(prefix="nightshift-runner-")
    atexit.register(kept.cleanup)
    box = Box(Path(kept.name), unpacked=False)
    box.run("probe")
    return next(box.archive.parent.glob(f"{box.archive.name}.*"))


@dataclass
class Box:
    """One sandbox's home, and how its runner is called."""

    home: Path
    python: str = sys.executable
    generation: int = 1
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    unpacked: bool = True
    """Whether it starts as after a `probe`: from bytecode, which takes half the time."""

    def __post_init__(self) -> None:
        digest, content = archive()
        self.workspace.mkdir(parents=True, exist_ok=True)
        self.archive = self.home / ".nightshift" / f"runner-{digest}.pyz"
        self.archive.parent.mkdir(exist_ok=True)
        self.archive.write_bytes(content)
        if self.unpacked:
            folder = unpacked_once()
            self.archive.with_name(self.archive.name + folder.suffix).symlink_to(folder)

    @property
    def workspace(self) -> Path:
        return self.home / "workspace"

    def request(self, **fields: Any) -> bytes:
        places = {"home": str(self.home), "workspace": str(self.workspace), "generation": self.generation}
        return json.dumps({**places, **fields}).encode()

    def begin(self, command: str, **fields: Any) -> "subprocess.Popen[bytes]":
        """Start a command and leave it running."""
        process = subprocess.Popen(
            [self.python, "-I", "-S", str(self.archive), command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self.environment,
        )
        assert process.stdin
        process.stdin.write(self.request(**fields))
        process.stdin.close()
        process.stdin = None
        return process

    def run(self, command: str, **fields: Any) -> Answer:
        """Run a command to its answer."""
        return finish(self.begin(command, **fields))

    def call(self, claim: str, tool: str, given: Answer | None = None, **fields: Any) -> Answer:
        return self.run("call", claim=claim, tool=tool, input=given or {}, **{"capture": False, **fields})

    def bash(self, claim: str, command: str, **fields: Any) -> Answer:
        return self.call(claim, "bash", {"command": command, **fields.pop("given", {})}, **fields)

    def state(self, *parts: str) -> Path:
        return self.home.joinpath(".nightshift", *parts)


def finish(process: "subprocess.Popen[bytes]") -> Answer:
    """Wait for a command's answer: the last line that it printed."""
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    return json.loads(output.splitlines()[-1])


def until(condition: Callable[[], Any], *, seconds: float = 20) -> Any:
    """Wait for a condition; gives what it gave."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.005)
    return found


def interpreters() -> dict[str, str]:
    """The Pythons of this machine that the runner promises to run on, by version."""
    found = {".".join(map(str, sys.version_info[:2])): sys.executable}
    for minor in range(8, 15):
        program = shutil.which(f"python3.{minor}")
        if program:
            asked = subprocess.run(
                [program, "-c", "import sys; print(sys.executable)"],
                env={**os.environ, "PYENV_VERSION": f"3.{minor}"},
                capture_output=True,
                text=True,
                check=False,
            )
            if asked.returncode == 0:
                found.setdefault(f"3.{minor}", asked.stdout.strip())
    return found


def tree(root: Path) -> dict[bytes, tuple[Any, ...]]:
    """What a restore must bring back: kind, mode, owner, time, content or target, the names of one file."""
    found: dict[bytes, tuple[Any, ...]] = {}
    inodes: dict[int, list[bytes]] = {}
    for path in (root, *root.rglob("*")):
        name, seen = os.fsencode(path.relative_to(root)), path.lstat()
        mode, kind = stat.S_IMODE(seen.st_mode), stat.S_IFMT(seen.st_mode)
        names = inodes.setdefault(seen.st_ino, [])
        names.append(name)
        owner = seen.st_uid, seen.st_gid
        found[name] = (kind, mode, owner, seen.st_mtime_ns, _content(path), names)
    return {name: (*row[:-1], sorted(row[-1])) for name, row in found.items()}


def _content(path: Path) -> bytes:
    if path.is_symlink():
        return os.fsencode(path.readlink())
    return path.read_bytes() if path.is_file() else b""
