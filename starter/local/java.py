"""The time-skipping test server: the SDK's own download, else Temporal's Java server fetched with Maven."""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from starter.local.binaries import Artefact, cached, make, run_building
from starter.local.parts import PartFailed, Progress
from starter.local.ports import Ports, is_free
from starter.local.sdk_download import downloaded

SERVER = Artefact(name="temporal-test-server", version="1.38.0", expected=timedelta(seconds=30))
FIX = "install a Java runtime (17 or newer) and Maven"
POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>nightshift</groupId>
  <artifactId>{SERVER.name}</artifactId>
  <version>{SERVER.version}</version>
  <dependencies>
    <dependency>
      <groupId>io.temporal</groupId>
      <artifactId>{SERVER.name}</artifactId>
      <version>{SERVER.version}</version>
    </dependency>
  </dependencies>
</project>
"""
# The SDK runs it as `PATH PORT [EXTRA…]` and gives it 5 s: with an archive of its classes it needs a third
# of the time. Another Java ignores the archive; the class path must be the relative one it was made with.
SCRIPT = """\
#!/bin/sh
cd "$(dirname "$(readlink -f "$0")")" || exit 1
exec "${JAVA_HOME:+$JAVA_HOME/bin/}java" -Xlog:disable ${ARCHIVE:--XX:SharedArchiveFile=classes.jsa} \\
  -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp 'lib/*' io.temporal.testserver.TestServer "$@"
"""
ARCHIVING = "-XX:ArchiveClassesAtExit=classes.jsa"
ARCHIVE_LIMIT = timedelta(seconds=60)


def _silent(_line: str) -> None:
    return


async def time_skipping_server(*, progress: Progress = _silent) -> Path:
    """A program for `start_time_skipping(test_server_existing_path=…)`; PartFailed when it cannot be had."""
    if found := cached(SERVER):
        return found / SERVER.name
    if found := await downloaded("test-server", progress=progress):
        return found
    for program in ("java", "mvn"):
        if shutil.which(program) is None:
            raise PartFailed(SERVER.name, why=f"there is no {program} on PATH", fix=FIX)
    return await make(SERVER, _Fetch(progress), progress=progress) / SERVER.name


class _Fetch:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    async def __call__(self, scratch: Path) -> Path:
        (scratch / "pom.xml").write_text(POM)
        kept = scratch / "server"
        goal = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
        await run_building(
            SERVER,
            (
                "mvn",
                "--batch-mode",
                "--quiet",
                goal,
                f"-DoutputDirectory={kept / 'lib'}",
                "-DincludeScope=runtime",
            ),
            environment=os.environ,
            scratch=scratch,
            progress=self._progress,
            fix=FIX,
        )
        script = kept / SERVER.name
        script.write_text(SCRIPT)
        script.chmod(0o755)
        await _archive_classes(script, port=Ports(scratch / "ports.json").claim(SERVER.name))
        return kept


async def _archive_classes(script: Path, *, port: int) -> None:
    """Run the server until it listens: at its end Java archives what it loaded."""
    server = await asyncio.create_subprocess_exec(
        str(script),
        str(port),
        env={**os.environ, "ARCHIVE": ARCHIVING},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        with suppress(TimeoutError):  # without an archive it only starts slower
            async with asyncio.timeout(ARCHIVE_LIMIT.total_seconds()):
                while server.returncode is None and is_free(port):  # noqa: ASYNC110 - another process listens
                    await asyncio.sleep(0.05)
    finally:
        with suppress(ProcessLookupError):
            server.terminate()
        await server.wait()
