"""Reading, writing and editing files: confined, gated by what was read, atomic, at most once."""

import os
from pathlib import Path

import pytest

from tests.runner_box import Answer, Box


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def write(box: Box, claim: str, path: str, content: str) -> Answer:
    return box.call(claim, "write_file", {"path": path, "content": content})


def edit(box: Box, claim: str, path: str, old: str, new: str, **more: bool) -> Answer:
    return box.call(claim, "edit_file", {"path": path, "old_string": old, "new_string": new, **more})


def test_write_creates_parents_and_may_be_edited(box: Box):
    """A new file is written with its parents; who wrote it need not read it before an edit."""
    written = write(box, "a", "src/app.py", "a = 1\n")
    edited = edit(box, "b", "src/app.py", "1", "2")

    assert written["text"] == "File created successfully at: src/app.py"
    assert (edited["status"], edited["is_error"]) == ("done", False)
    assert (box.workspace / "src/app.py").read_text() == "a = 2\n"


@pytest.mark.parametrize("tool", ["write_file", "edit_file"])
def test_change_needs_a_read(box: Box, tool: str):
    """A file that exists is changed only after it was read, and not if it changed since; the mode is kept."""
    file = box.workspace / "f"
    file.write_text("old")
    file.chmod(0o750)
    given = {"path": "f", "content": "new", "old_string": "old", "new_string": "new"}
    unread = box.call("a", tool, given)
    box.run("read_file", path="f")
    os.utime(file)
    read = box.call("b", tool, given)
    file.write_text("old, by another")
    changed = box.call("c", tool, given)

    assert (unread["status"], unread["text"]) == (
        "refused",
        "File has not been read yet. Read it first before writing to it.",
    )
    assert read["status"] == "done"
    assert changed["text"] == (
        "File has been unexpectedly modified. Read it again before attempting to write it."
    )
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("old, by another", 0o750)


def test_edit_is_exact_and_unique(box: Box):
    """The old text must be there, once, unless all of it is replaced, and differ from the new one."""
    write(box, "w", "f", "x x y\n")

    assert "Found 2 matches" in edit(box, "a", "f", "x", "z")["text"]
    assert "String to replace not found" in edit(box, "b", "f", "q", "z")["text"]
    assert "exactly the same" in edit(box, "c", "f", "y", "y")["text"]
    assert edit(box, "d", "f", "x", "z", replace_all=True)["status"] == "done"
    assert (box.workspace / "f").read_text() == "z z y\n"


def test_edit_keeps_other_bytes_and_line_ends(box: Box):
    """An edit keeps bytes that are no UTF-8, and CRLF line ends that the model was shown as LF."""
    (box.workspace / "f").write_bytes(b"caf\xe9\r\none\r\ntwo\r\n")
    box.run("read_file", path="f")
    edit(box, "a", "f", "one\ntwo", "1\n2")

    assert (box.workspace / "f").read_bytes() == b"caf\xe9\r\n1\r\n2\r\n"


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("../out", "outside"),
        ("/etc/passwd", "outside"),
        ("link/out", "outside"),
        ("a\0b", "NUL"),
        ("a\ud800b", "surrogate"),
        ("a/" * 2_000, "deep"),
        ("dir", "directory"),
    ],
)
def test_paths_are_confined(box: Box, path: str, word: str):
    """A path that leads out of the workspace, by dots or by a symlink, is refused and nothing is written."""
    (box.workspace / "link").symlink_to("..")
    (box.workspace / "dir").mkdir()

    assert word in write(box, "a", path, "x")["text"]
    assert word in edit(box, "b", path, "x", "y")["text"]
    assert box.run("read_file", path=path)["is_error"]
    assert not (box.home / "out").exists()


def test_write_through_a_symlink_changes_its_target(box: Box):
    """A symlink inside the workspace stays one; the file it names is written."""
    (box.workspace / "f").write_text("old")
    (box.workspace / "link").symlink_to("f")
    box.run("read_file", path="link")
    write(box, "a", "link", "new")

    assert (box.workspace / "link").is_symlink()
    assert (box.workspace / "f").read_text() == "new"


def test_interrupted_write_is_settled(box: Box):
    """An attempt killed after its rename is done; before it, it is made; if another wrote, it is said."""
    first = write(box, "a", "f", "new")
    box.state("claims", "1-a", "result").unlink()
    renamed = write(box, "a", "f", "new")
    box.state("claims", "1-a", "result").unlink()
    (box.workspace / "f").unlink()
    made = write(box, "a", "f", "new")
    box.state("claims", "1-a", "result").unlink()
    (box.workspace / "f").write_text("by another")
    lost = write(box, "a", "f", "new")

    assert renamed == first == made
    assert lost["status"] == "interrupted"
    assert (box.workspace / "f").read_text() == "by another"


def test_write_that_cannot_be_made_is_said(box: Box):
    """What the file system refuses goes to the model as an error, not to the worker as a failure."""
    (box.workspace / "f").write_text("")
    answer = write(box, "a", "f/below", "x")

    assert (answer["status"], answer["is_error"]) == ("refused", True)


def test_read_numbers_lines_and_pages(box: Box):
    """Lines are numbered from 1; what does not fit is named with the offset to go on from."""
    (box.workspace / "f").write_text("".join(f"line {n}\n" for n in range(1, 11)))
    page = box.run("read_file", path="f", offset=3, limit=2)

    assert page["text"] == "     3\tline 3\n     4\tline 4\n(lines 3 to 4 of 10; read on with offset 5)"
    assert box.run("read_file", path="f", offset=11)["is_error"]


def test_read_never_exceeds_an_answer(box: Box):
    """Long lines are cut and pages end early, so that a read is at most 30,000 characters."""
    (box.workspace / "f").write_text(("x" * 5_000 + "\n") * 100)
    text = box.run("read_file", path="f")["text"]

    assert len(text) <= 30_000
    assert "[… line cut]" in text
    assert text.endswith("read on with offset 15)")


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("fifo", "no regular file"),
        ("binary", "binary"),
        ("huge", "more than"),
        ("gone", "does not exist"),
        (".", "glob"),
    ],
)
def test_unreadable_things_are_refused_with_a_word(box: Box, name: str, word: str):
    """A FIFO does not hang, binary and huge files are not shown, and the text says what to do."""
    os.mkfifo(box.workspace / "fifo")
    (box.workspace / "binary").write_bytes(b"\x7fELF\0\0")
    with (box.workspace / "huge").open("wb") as file:
        file.truncate(10 * 1024 * 1024 + 1)
    answer = box.run("read_file", path=name)

    assert answer["is_error"]
    assert word in answer["text"]


def test_empty_file_is_said(box: Box):
    """An empty file is told from a failed read."""
    (box.workspace / "f").write_text("")

    assert box.run("read_file", path="f") == {"text": "(the file is empty)", "is_error": False}


@pytest.mark.parametrize("target", [".", "/", "/nonexistent", ""], ids=["home", "root", "dangling", "file"])
def test_a_replaced_workspace_opens_nothing_else(box: Box, target: str):
    """Whatever stands in its place, the file tools refuse, and a command can put the folder back."""
    box.workspace.rmdir()
    box.workspace.symlink_to(target) if target else box.workspace.write_text("")
    refused = [
        box.run("read_file", path=".profile"),
        box.run("grep", pattern="x"),
        write(box, "w", "made", "x"),
        edit(box, "e", "made", "x", "y"),
    ]
    told = box.bash("a", "true", capture=True)
    mended = box.bash("b", f"rm {box.workspace} && mkdir {box.workspace}", capture=True)

    assert [answer["text"] for answer in refused if not answer["is_error"]] in ([], ["No matches found"])
    assert f"is {'a link' if target else 'a file'} now" in told["capture_error"]["message"]
    assert mended["capture"]["number"] == 1
    assert not (box.home / "made").exists()
    assert write(box, "v", "made", "x")["status"] == "done"
