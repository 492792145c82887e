"""The runner's archive, and what must be the same on both sides of the sandbox's wall."""

import ast
import io
import zipfile
from pathlib import Path

from activities import runner
from activities.runner import commands, confine, globbing, reading, rows, search, text
from activities.runner_archive import archive
from workflows import catalogue

SOURCES = sorted(Path(runner.__file__).parent.glob("*.py"))


def test_archive_is_the_same_bytes_each_time():
    """The same sources make the same archive, whenever and wherever it is built."""
    built = archive()
    archive.cache_clear()

    assert archive() == built
    with zipfile.ZipFile(io.BytesIO(built[1])) as file:
        assert {entry.date_time for entry in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert len(file.namelist()) == len(SOURCES) + 1


def test_sources_are_python_3_8():
    """Every source parses as Python 3.8, which a sandbox's template may have."""
    for source in SOURCES:
        ast.parse(source.read_text(), feature_version=(3, 8))


def test_limits_are_the_catalogue_s():
    """What the model is told of the tools is what the runner does."""
    ours = (
        text.MAX_OUTPUT_CHARS,
        reading.MAX_LINES,
        reading.MAX_LINE_CHARS,
        confine.MAX_FILE_BYTES,
        search.MAX_MATCHES,
        globbing.MAX_PATHS,
        commands.COMMAND_SECONDS,
    )

    assert ours == (
        catalogue.MAX_OUTPUT_CHARS,
        catalogue.MAX_LINES,
        catalogue.MAX_LINE_CHARS,
        catalogue.MAX_FILE_BYTES,
        catalogue.MAX_MATCHES,
        catalogue.MAX_PATHS,
        catalogue.COMMAND_SECONDS,
    )


def test_cache_is_what_is_made_again():
    """Folders that an install or a tool makes again are cache, at any depth; a file of such a name is not."""
    cached = [b"node_modules/a", b"web/node_modules/a/b", b"a/.next/cache/x", b".venv/bin/python"]
    sources = [
        b"dist/app.js",
        b"build/x",
        b"node_modules",
        b"my_node_modules/a",
        b".next/server",
        b".git/HEAD",
    ]

    assert [rows.is_cache(path) for path in cached] == [True] * len(cached)
    assert [rows.is_cache(path) for path in sources] == [False] * len(sources)
    assert rows.is_cache(b"web/node_modules", directory=True)
