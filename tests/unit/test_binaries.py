import asyncio
import os
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from starter.local.binaries import Artefact, cache_directory, cached, make, run_building
from starter.local.parts import PartFailed

TOOL = Artefact(name="tool", version="1.2.3", expected=timedelta(seconds=40))


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def silent(_line: str) -> None:
    return


async def build_tool(scratch: Path) -> Path:
    (scratch / "out").write_text("a tool")
    return scratch / "out"


def left_over() -> list[str]:
    return [path.name for path in cache_directory().glob("build-*")]


async def run(code: str, *, scratch: Path, progress=silent) -> None:
    await run_building(
        TOOL,
        (sys.executable, "-c", code),
        environment=os.environ,
        scratch=scratch,
        progress=progress,
        fix="install Go",
    )


async def test_what_was_made_is_found_again(tmp_path: Path):
    """A second checkout finds what the first one made, in the user's cache."""
    place = await make(TOOL, build_tool, progress=silent)

    assert place == cached(TOOL)
    assert place.is_relative_to(tmp_path / "cache" / "nightshift")
    assert place.name.startswith("tool-1.2.3-")
    assert "a tool" == place.read_text()


async def test_two_at_once_make_it_once():
    """Of two that need the same thing, one makes it and the other waits for it and is told why."""
    started, go_on, built = asyncio.Event(), asyncio.Event(), list[str]()

    async def slowly(scratch: Path) -> Path:
        built.append("built")
        started.set()
        await go_on.wait()
        return await build_tool(scratch)

    lines: list[str] = []

    def told(line: str) -> None:
        lines.append(line)
        go_on.set()

    first = asyncio.create_task(make(TOOL, slowly, progress=silent))
    await started.wait()
    second = asyncio.create_task(make(TOOL, slowly, progress=told))

    assert await first == await second
    assert ["built"] == built
    assert "another process is getting tool" in lines[0]


async def test_a_failed_build_leaves_nothing():
    """After a failure the next attempt starts from nothing, and no half of a program is ever found."""

    async def fails(scratch: Path) -> Path:
        (scratch / "half").write_text("half a tool")
        await run("import sys; sys.exit('no such module')", scratch=scratch)
        return scratch / "half"

    with pytest.raises(PartFailed, match=r"tool: building it failed:\s+no such module\n.*install Go"):
        await make(TOOL, fails, progress=silent)

    assert cached(TOOL) is None
    assert [] == left_over()


async def test_what_a_killed_build_left_is_removed():
    """A kill -9 in the middle of a build costs no disk for longer than until the next one."""
    (cache_directory() / f"build-{TOOL.file_name}-dead").mkdir()
    await make(TOOL, build_tool, progress=silent)

    assert [] == left_over()


async def test_a_build_that_is_given_up_is_stopped(tmp_path: Path):
    """Ctrl-C ends the compiler too, not only our waiting for it."""
    code = "import os, signal; open('pid', 'w').write(str(os.getpid())); signal.pause()"
    task = asyncio.create_task(run(code, scratch=tmp_path))
    async with asyncio.timeout(20):
        while not (content := read(tmp_path / "pid")):
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    with pytest.raises(ProcessLookupError):
        os.kill(int(content), 0)


async def test_the_first_line_tells_how_long_it_takes(tmp_path: Path):
    """Whoever waits knows at once for what and about how long."""
    lines: list[str] = []
    await run("", scratch=tmp_path, progress=lines.append)

    assert ["getting tool 1.2.3, once for this user: about 40 s"] == lines


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""
