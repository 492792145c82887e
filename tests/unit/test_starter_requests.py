import json
import re
from pathlib import Path
from typing import Any

import pytest
from temporalio.contrib.pydantic import pydantic_data_converter

from starter.requests import (
    SERVER_LIMIT,
    UnusableRequest,
    check_size,
    headline_of,
    read_request,
    workflow_id_for,
)

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.json"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "request.json"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_can_be_read(example: Path):
    """They are the first thing that people start."""
    assert json.loads(example.read_text()) == read_request(example)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is not valid JSON"),
        (b'{"idea": "x",}', "line 1 column"),
        (b"[]", "must hold one JSON object"),
        (b'"idea"', '{"idea": "a habit tracker"}'),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_an_unusable_file_is_named_with_the_fault(file: Path, content: bytes, said: str):
    """The text begins with the file and says what is wrong where."""
    file.write_bytes(content)
    with pytest.raises(UnusableRequest) as found:
        read_request(file)

    assert str(found.value).startswith(f"{file} ")
    assert said in str(found.value)


@pytest.mark.parametrize("name", ["missing.json", "."])
def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path, name: str):
    """A wrong path or a folder is a sentence, no traceback."""
    with pytest.raises(UnusableRequest, match=re.escape(f"{tmp_path / name} cannot be read")):
        read_request(tmp_path / name)


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"max_tool_calls": ' + b"9" * 5_000 + b"}"])
def test_hostile_files_are_unusable(file: Path, content: bytes):
    """Endless nesting and endless numbers are faults of the file, too."""
    file.write_bytes(content)
    with pytest.raises(UnusableRequest, match=re.escape(str(file))):
        read_request(file)


def test_what_is_read_can_be_sent(file: Path):
    """Half a surrogate pair in JSON is legal, and cannot be encoded: it is refused or replaced here."""
    file.write_bytes(b'{"idea": "a \\ud800 tracker"}')
    try:
        request = read_request(file)
    except UnusableRequest:
        return

    assert pydantic_data_converter.payload_converter.to_payload(request).data


def test_a_file_is_held_to_the_server_s_limit(file: Path):
    """Too large a request is refused before anything is started for it."""
    file.write_text(json.dumps({"idea": "x" * SERVER_LIMIT}))
    with pytest.raises(UnusableRequest, match="2,097,152"):
        read_request(file)


def test_the_largest_request_the_server_takes_is_sent():
    """One byte more is refused, with the way out."""
    frame = len(json.dumps({"idea": ""}))
    check_size({"idea": "x" * (SERVER_LIMIT - frame)})
    with pytest.raises(UnusableRequest, match=r"Shorten `idea_brief`.*name `project`"):
        check_size({"idea": "x" * (SERVER_LIMIT - frame + 1)})


@pytest.mark.parametrize(
    ("request_", "slug"),
    [
        ({"project": "Shop_2.0", "idea": "x"}, "shop-2-0"),
        ({"idea": "A habit tracker!"}, "a-habit-tracker"),
        ({"idea": "x" * 100}, "x" * 40),
        ({"idea": "трекер"}, "build"),
        ({"idea": "../../etc"}, "etc"),
        ({"idea": 5}, "5"),
        ({}, "build"),
    ],
)
def test_a_workflow_id_is_readable(request_: dict[str, Any], slug: str):
    """Project or idea in plain letters, then the time."""
    found = workflow_id_for(request_)

    assert re.fullmatch(re.escape(slug) + r"-\d{8}-\d{6}.*", found)
    assert re.fullmatch(r"[a-z0-9-]+", found)


def test_a_workflow_id_is_new():
    """Two builds of one idea, started at once, do not meet."""
    assert workflow_id_for({"idea": "x"}) != workflow_id_for({"idea": "x"})


@pytest.mark.parametrize(
    ("request_", "line"),
    [
        ({"idea": "a shop"}, "a shop"),
        ({"idea_brief": {"problem_statement": "I forget"}}, "I forget"),
        ({"project": "shop"}, "shop"),
        ({"idea_brief": "wrong"}, "a build"),
        ({"idea": "x" * 300}, "x" * 200),
        ({}, "a build"),
    ],
)
def test_a_headline_says_what_is_built(request_: dict[str, Any], line: str):
    """From the idea, the brief or the project; a wrong request does not stop it from being sent."""
    assert line == headline_of(request_)


def test_a_headline_is_one_line():
    """The Web UI shows it in a table."""
    assert "a shop for tea" == headline_of({"idea": "a shop\nfor tea"})
