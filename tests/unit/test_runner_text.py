"""The runner's small pure parts: texts, names, manifest lines and globs."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activities.runner.failures import RunnerFailure
from activities.runner.rows import META_FIELDS, Row, parse, quote, spell, unquote
from activities.runner.text import clean, read_ends, shorten
from activities.runner.trees import expression

NAMES = st.binary(min_size=1, max_size=20).filter(
    lambda name: not set(name) & {0, 47} and name not in (b".", b"..")
)
QUIET = settings(deadline=None, database=None)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(b"/".join)


@QUIET
@given(PATHS)
def test_quoted_names_are_ascii_and_come_back(path: bytes):
    """Any name goes through a manifest, which is one ASCII line a path."""
    quoted = quote(path)

    assert quoted.isascii()
    assert quoted.isprintable()
    assert unquote(quoted) == path


@QUIET
@given(PATHS, st.binary(min_size=1, max_size=20), st.integers(0, 2**62))
def test_manifest_line_comes_back(path: bytes, target: bytes, time: int):
    """What a manifest line says of a file, link or directory is read back in full."""
    for row in (
        Row("file", 0o644, time, 5, "ab", "cd", 7, 9, uid=3, gid=4),
        Row("symlink", 0o777, time, target=target, uid=3, gid=4),
        Row("symlink", 0o777, time, target=target, same_as=path),
        Row("hardlink", 0o4755, time, 5, "ab", "cd", 7, 9, target=path),
        Row("dir", 0o700, time),
        Row("gone"),
    ):
        found, parsed = parse(spell(path, row).encode())

        assert (found, parsed[:META_FIELDS]) == (path, row[:META_FIELDS])


@pytest.mark.parametrize(
    "line", [b"", b"[]", b"{}", b'{"path":"a","kind":"fifo"}', b'{"path":"a/..","kind":"dir"}']
)
def test_damaged_line_is_refused(line: bytes):
    """A line that is damaged, unknown or unsafe makes the manifest invalid."""
    with pytest.raises(RunnerFailure) as refused:
        parse(line)

    assert refused.value.kind == "invalid_manifest"


@QUIET
@given(st.binary(max_size=500))
def test_clean_text_can_be_sent(data: bytes):
    """Whatever a program prints becomes text that JSON, Postgres and the model take."""
    text = clean(data)

    assert text.encode("utf-8").find(b"\0") == -1
    assert "\x1b" not in text


@QUIET
@given(st.text(max_size=3_000), st.integers(200, 1_000))
def test_shortened_text_fits(text: str, limit: int):
    """A text is left alone if it fits; otherwise both its ends are kept, within the limit."""
    short, cut = shorten(text, limit=limit)

    assert len(short) <= max(limit, len(text)) if not cut else len(short) <= limit
    assert cut == (len(text) > limit)
    assert short[:50] == text[:50]
    assert short[-50:] == text[-50:] or not text


@QUIET
@given(st.integers(0, 60_000))
def test_ends_of_a_file_fit(size: int):
    """A file's ends fit the limit, whatever its size, without reading the middle of a large one."""
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes((b"0123456789" * (size // 10 + 1))[:size])
        text, cut = read_ends(file.name, limit=1_000, hint="")

    assert len(text) <= 1_000
    assert cut == (size > 1_000)


@pytest.mark.parametrize(
    ("pattern", "matches", "others"),
    [
        ("*.py", ["a.py", "d/e/a.py"], ["a.pyc", "a"]),
        ("./src/*.py", ["src/a.py"], ["src/d/a.py", "a.py"]),
        ("**/test_*", ["test_a", "d/e/test_b"], ["d/atest_a"]),
        ("src/**/x", ["src/x", "src/a/b/x"], ["x", "srcx"]),
        ("a{b,c{d,e}}f", ["abf", "acdf", "acef"], ["af", "acf"]),
        ("[ab]?", ["ax", "bx"], ["cx", "a"]),
        ("[!a]b", ["xb"], ["ab"]),
        ("a+(b).txt", ["a+(b).txt"], ["aab.txt"]),
        ("[", ["["], ["a"]),
        ("{a", ["a"], ["b"]),
        ("a,b}", ["a,b}"], ["a"]),
        (r"\*", ["*"], ["a"]),
    ],
)
def test_glob_expressions(pattern: str, matches: list[str], others: list[str]):
    """Globs mean what they mean to ripgrep and shells; what is no glob is taken as it stands."""
    wanted = expression(pattern)

    assert [path for path in matches if not wanted.fullmatch(path)] == []
    assert [path for path in others if wanted.fullmatch(path)] == []
