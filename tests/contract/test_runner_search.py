"""grep and glob: the same answers with ripgrep and without."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from activities.runner.kinds import KINDS, globs_of
from tests.runner_box import Box
from workflows.catalogue import FILE_TYPES


@pytest.fixture(params=["rg", "python"])
def box(tmp_path: Path, request: pytest.FixtureRequest) -> Box:
    """A workspace with a few files; ripgrep is the one that our environment brings, or hidden."""
    programs = tmp_path / "bin"
    programs.mkdir()
    if request.param == "rg":
        (programs / "rg").symlink_to(Path(sys.prefix, "bin", "rg"))
    box = Box(tmp_path / "home", environment={**os.environ, "PATH": str(programs)})
    for name, content in {
        "src/app.py": "import os\nTODO = 1\n# todo later\n",
        "src/view.js": "// TODO view\n",
        "src/deep/er/x.py": "nothing\n",
        ".env": "TODO=secret\n",
        ".git/config": "TODO\n",
        "blob": "TODO \0\n",
        "-dash": "TODO dash\n",
    }.items():
        file = box.workspace / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return box


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"pattern": "TODO"}, "-dash\n.env\nsrc/app.py\nsrc/view.js"),
        ({"pattern": "TODO", "glob": "*.py"}, "src/app.py"),
        ({"pattern": "TODO", "glob": "*.{py,js}"}, "src/app.py\nsrc/view.js"),
        (
            {"pattern": "TODO", "path": "src", "mode": "content"},
            "src/app.py:2:TODO = 1\nsrc/view.js:1:// TODO view",
        ),
        ({"pattern": "todo", "path": "src/app.py", "mode": "count", "ignore_case": True}, "src/app.py:2"),
        (
            {"pattern": "^TODO", "path": "src/app.py", "mode": "content", "context": 1},
            "src/app.py-1-import os\nsrc/app.py:2:TODO = 1\nsrc/app.py-3-# todo later",
        ),
        ({"pattern": "TODO", "glob": "!src"}, "-dash\n.env"),
        ({"pattern": "TODO", "glob": "!*.py"}, "-dash\n.env\nsrc/view.js"),
        ({"pattern": "TODO", "glob": "/*.py"}, "No matches found"),
        ({"pattern": "TODO", "glob": "src/*", "path": "src"}, "src/app.py\nsrc/view.js"),
        ({"pattern": "TODO", "glob": ".git/*"}, ".git/config"),
        ({"pattern": "TODO = 1.+later", "multiline": True, "mode": "count"}, "src/app.py:1"),
        (
            {"pattern": r"os\nTODO", "mode": "content"},
            "src/app.py:1:import os\nsrc/app.py:2:TODO = 1",
        ),
        (
            {"pattern": "todo|view", "mode": "content", "context": 1, "glob": "src/*"},
            "src/app.py-2-TODO = 1\nsrc/app.py:3:# todo later\n--\nsrc/view.js:1:// TODO view",
        ),
        (
            {"pattern": "^TODO", "path": "src/app.py", "mode": "content", "after": 1},
            "src/app.py:2:TODO = 1\nsrc/app.py-3-# todo later",
        ),
        (
            {"pattern": "todo|view", "mode": "content", "before": 1, "after": 0, "glob": "src/*"},
            "src/app.py-2-TODO = 1\nsrc/app.py:3:# todo later\n--\nsrc/view.js:1:// TODO view",
        ),
        (
            {"pattern": "^TODO", "path": "src/app.py", "mode": "content", "context": 1, "before": 2},
            "src/app.py-1-import os\nsrc/app.py:2:TODO = 1\nsrc/app.py-3-# todo later",
        ),
        ({"pattern": "TODO", "type": "py"}, "src/app.py"),
        ({"pattern": "TODO", "type": "sh"}, ".env"),
        ({"pattern": "TODO", "type": "js", "glob": "*.py"}, "src/app.py"),
        ({"pattern": "TODO", "type": "js", "glob": "!src/deep"}, "src/view.js"),
        ({"pattern": "TODO", "type": "rust"}, "No matches found"),
        ({"pattern": "TODO", "offset": 2, "head_limit": 2}, "src/app.py\nsrc/view.js"),
        ({"pattern": "TODO", "offset": 9}, "No matches found after the first 9 lines"),
        (
            {"pattern": "TODO", "head_limit": 1},
            "-dash\n(1 lines, and there are more: narrow the pattern, path or glob, or set offset to 1)",
        ),
        ({"pattern": "[[:upper:]]{4}(?= dash)"}, "-dash"),
        ({"pattern": "-dash|absent", "path": "-dash"}, "No matches found"),
        ({"pattern": "absent"}, "No matches found"),
    ],
)
def test_grep(box: Box, given: dict[str, Any], expected: str):
    """Hidden files are searched, .git and binary files not; paths are sorted, relative to the workspace."""
    answer = box.run("grep", **given)

    assert answer == {"text": expected, "is_error": False}


def test_types_are_ripgreps_own_and_those_that_the_model_is_told():
    """A type means the same with and without ripgrep, and each that may be asked for is known."""
    asked = [str(Path(sys.prefix, "bin", "rg")), "--type-list"]
    listed = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()
    known = dict(line.split(": ", 1) for line in listed)

    assert {kind: known[kind].split(", ") for kind in KINDS} == {kind: globs_of(kind) for kind in KINDS}
    assert tuple(KINDS) == FILE_TYPES


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_a_type_are_the_same_both_ways(box: Box, kind: str):
    """Each name that a type's globs could mean is found, or not, alike."""
    names = {
        re.sub(r"\[(.).*?\]", r"\1", glob).replace("*", "x") for each in KINDS for glob in globs_of(each)
    }
    for name in names:
        (box.workspace / name).write_text("needle\n")
    found = box.run("grep", pattern="needle", type=kind, head_limit=2_000)["text"].splitlines()
    asked = [str(Path(sys.prefix, "bin", "rg")), "--files", "--hidden", "--no-ignore", f"--type={kind}"]
    listed = subprocess.run(asked, cwd=box.workspace, capture_output=True, text=True, check=True).stdout

    assert set(found) == set(listed.splitlines()) & names


@pytest.mark.parametrize("mode", ["files", "content", "count"])
def test_grep_answers_alike_whatever_the_files_hold(box: Box, mode: str):
    """Odd files are searched or skipped alike by both ways; what is skipped depends on no ignore file."""
    for name, content in {
        "a.py": b"TODO\r\n",
        "a/below": b"TODO \xff\n",
        "b/.gitignore": b"*\n",
        "bom": b"\xef\xbb\xbfTODO\n",
        "dist/long.js": b"TODO" + b"x" * 5_000,
        "late": b"TODO\n" + b"x" * 200 + b"\0",
        "node_modules/m/x.js": b"TODO\n",
        "utf16": "TODO\r\n".encode("utf-16"),
        "venv": b"TODO\n",
        "wide": b"TODO\n" * (2 * 1024 * 1024 + 1),
    }.items():
        file = box.workspace / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    (box.workspace / "link").symlink_to("a.py")
    os.mkfifo(box.workspace / "fifo")
    names = ["-dash", ".env", "a/below", "a.py", "bom", "dist/long.js", "src/app.py", "src/view.js", "utf16"]

    answer = box.run("grep", pattern="^TODO|// TODO", mode=mode)

    assert [*names, "venv"] == [line.partition(":")[0] for line in answer["text"].splitlines()]
    assert max(map(len, answer["text"].splitlines())) < 600


@pytest.mark.parametrize("path", ["fifo", "blob"])
def test_grep_refuses_what_is_no_text(box: Box, path: str):
    """A FIFO does not hang, and a binary file that is named is refused with what to do."""
    os.mkfifo(box.workspace / "fifo")
    answer = box.run("grep", pattern="TODO", path=path)

    assert answer["is_error"]
    assert "is a binary file" in answer["text"] or "no regular file" in answer["text"]


def test_a_search_that_never_ends_is_stopped(box: Box):
    """A pattern that would take for ever is an error with what to do instead, in good time."""
    (box.workspace / ("a" * 200)).write_text("")
    answer = box.run("glob", pattern="*a" * 40 + "b", seconds=1)

    assert answer == {
        "text": "The search took more than 1 seconds. Narrow the path, the glob or the pattern.",
        "is_error": True,
    }


@pytest.mark.parametrize("text", ["a\0b", "a\ud800"])
def test_what_no_argument_can_hold_is_refused(box: Box, text: str):
    """NUL and half a surrogate pair are told, in whichever field they stand."""
    asked = [
        box.run("grep", pattern=text),
        box.run("grep", pattern="a", glob=text),
        box.run("grep", pattern="a", path=text),
        box.run("glob", pattern=text),
        box.run("glob", pattern="a", path=text),
        box.run("read_file", path=text),
    ]

    assert [True] * 6 == [answer["is_error"] for answer in asked]
    assert all("holds" in answer["text"] for answer in asked)


def test_grep_says_what_is_wrong(box: Box):
    """A bad expression, a missing path and a path outside are errors with a word."""
    assert "search failed" in box.run("grep", pattern="(")["text"]
    assert "does not exist" in box.run("grep", pattern="x", path="gone")["text"]
    assert "outside" in box.run("grep", pattern="x", path="..")["text"]


def test_grep_returns_at_most_250_lines(box: Box):
    """A pattern that matches too much is cut, and the model is told to narrow it; long lines are cut."""
    (box.workspace / "many").write_text("hit\n" * 1_000 + "hit" + "x" * 10_000)
    lines = box.run("grep", pattern="hit", mode="content")["text"].splitlines()

    assert len(lines) == 251
    assert "narrow" in lines[-1]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.py", {"src/app.py", "src/deep/er/x.py"}),
        ("**/*.py", {"src/app.py", "src/deep/er/x.py"}),
        ("src/*.py", {"src/app.py"}),
        ("src/**", {"src/app.py", "src/view.js", "src/deep/er/x.py"}),
        ("**/*.{js,env}", {"src/view.js", ".env"}),
        ("src/?pp.[!j]*", {"src/app.py"}),
        (".git/*", {".git/config"}),
        ("absent", {"No files found"}),
    ],
)
def test_glob(box: Box, pattern: str, expected: set[str]):
    """Without a slash a pattern matches at any depth; .git is looked into only if named."""
    assert set(box.run("glob", pattern=pattern)["text"].splitlines()) == expected


def test_glob_is_newest_first_and_bounded(box: Box):
    """The newest hundred are returned, and how many there are."""
    for number in range(105):
        file = box.workspace / f"n{number:03}.txt"
        file.write_text("")
        os.utime(file, (number, number))
    lines = box.run("glob", pattern="n*.txt")["text"].splitlines()

    assert lines[:2] == ["n104.txt", "n103.txt"]
    assert (len(lines), lines[-1][:30]) == (101, "(the newest 100 of 105 files; ")


def test_glob_stays_inside(box: Box):
    """Absolute patterns and dots upwards are refused."""
    assert box.run("glob", pattern="/etc/*")["is_error"]
    assert box.run("glob", pattern="../*")["is_error"]
    assert box.run("glob", pattern="*", path="/etc")["is_error"]


def test_ripgrep_of_the_workspace_is_not_run(box: Box):
    """A program called rg that lies in the workspace is what the model wrote, and is not run."""
    planted = box.workspace / "bin" / "rg"
    planted.parent.mkdir()
    planted.write_text("#!/bin/sh\necho planted\n")
    planted.chmod(0o755)
    box.environment["PATH"] = f"{planted.parent}"

    assert "planted" not in box.run("grep", pattern="absent", path="src")["text"]
