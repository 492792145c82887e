import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from workflows.catalogue import (
    COMMAND_SECONDS,
    INPUTS,
    MAX_COMMAND_SECONDS,
    MAX_FILE_BYTES,
    MAX_LINES,
    Bash,
    InvalidToolCall,
    ReadFile,
    ToolName,
    definitions,
    describe_errors,
    is_changing,
    label,
    parse_call,
)

ROOT = Path(__file__).parents[2]
LEAST: dict[ToolName, dict[str, Any]] = {
    ToolName.READ_FILE: {"path": "a.py"},
    ToolName.WRITE_FILE: {"path": "a.py", "content": ""},
    ToolName.EDIT_FILE: {"path": "a.py", "old_string": "a", "new_string": ""},
    ToolName.BASH: {"command": "ls"},
    ToolName.GREP: {"pattern": "x"},
    ToolName.GLOB: {"pattern": "*.py"},
    ToolName.TAKE_SCREENSHOT: {},
    ToolName.NARRATE: {"message": "I begin."},
    ToolName.DOCUMENT: {"section": "faq", "content": "Q: …"},
}
"""The least input that each tool takes."""
REQUIRED = [(tool, field) for tool, least in LEAST.items() for field in least]
FIELDS = [(tool, field) for tool, model in INPUTS.items() for field in model.model_fields]
OUT_OF_BOUNDS = [
    ("read_file", "path", ""),
    ("read_file", "path", "x" * 4_097),
    ("read_file", "offset", 0),
    ("read_file", "limit", MAX_LINES + 1),
    ("edit_file", "old_string", ""),
    ("bash", "command", ""),
    ("bash", "timeout_seconds", 0),
    ("bash", "timeout_seconds", MAX_COMMAND_SECONDS + 1),
    ("grep", "mode", "lines"),
    ("grep", "context", 21),
    ("grep", "glob", "x" * 4_097),
    ("grep", "head_limit", 0),
    ("grep", "offset", -1),
    ("read_file", "offset", 10**400),
    ("edit_file", "new_string", "x" * (MAX_FILE_BYTES + 1)),
    ("take_screenshot", "path", "/" * 2_049),
    ("take_screenshot", "path", "index.html"),
    ("take_screenshot", "port", 65_536),
    ("narrate", "message", ""),
    ("narrate", "phase_name", "x" * 101),
    ("document", "section", "appendix"),
    ("document", "content", "x" * 20_001),
]
LONGEST_ERROR = 2_000
"""Characters of an error that goes back to the model."""


def refusal(tool: str, given_: Any) -> str:
    with pytest.raises(InvalidToolCall) as found:
        parse_call(tool, given_)
    return str(found.value)


# --- parsing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", ToolName)
def test_the_least_input_is_enough(tool: ToolName):
    """It becomes the tool's own model, everything else a default."""
    assert INPUTS[tool](**LEAST[tool]) == parse_call(tool, LEAST[tool])


@pytest.mark.parametrize(("tool", "field"), REQUIRED)
def test_a_missing_field_is_named(tool: ToolName, field: str):
    """The model reads the tool, the field, and that it is required."""
    left = {name: value for name, value in LEAST[tool].items() if name != field}

    assert refusal(tool, left).startswith(f"Invalid input for {tool}: {field}: Field required. Nothing was")


@pytest.mark.parametrize("tool", ToolName)
def test_a_refusal_lists_what_the_tool_takes(tool: ToolName):
    """So that the next call can be right."""
    fields = INPUTS[tool].model_fields
    listed = ", ".join(name if name in LEAST[tool] else f"{name} (optional)" for name in fields)

    assert refusal(tool, ["no object"]).endswith(f" Nothing was done. It takes: {listed}.")


TEXTS = [(tool, name) for tool, name in FIELDS if INPUTS[tool].model_fields[name].annotation is str]


@pytest.mark.parametrize(("tool", "field"), TEXTS)
@pytest.mark.parametrize(("odd", "told"), [("\0", "NUL"), ("\ud83d", "surrogate pair")])
def test_what_no_text_can_hold_is_refused(tool: ToolName, field: str, odd: str, told: str):
    """In every field that takes text; the model reads what to write instead."""
    text = refusal(tool, LEAST[tool] | {field: f"/a{odd}"})

    assert text.startswith(f"Invalid input for {tool}: {field}: It holds ")
    assert told in text


@pytest.mark.parametrize("tool", ToolName)
def test_an_unknown_field_is_named(tool: ToolName):
    """A typo is told, not ignored."""
    text = refusal(tool, LEAST[tool] | {"file_name": "a"})

    assert text.startswith(f"Invalid input for {tool}: file_name: ")


@pytest.mark.parametrize(("tool", "field"), FIELDS)
def test_a_field_of_the_wrong_type_is_named(tool: ToolName, field: str):
    """No field takes a list."""
    text = refusal(tool, LEAST[tool] | {field: ["a"]})

    assert text.startswith(f"Invalid input for {tool}: {field}: ")


@pytest.mark.parametrize(("tool", "field", "value"), OUT_OF_BOUNDS)
def test_a_value_out_of_bounds_is_named(tool: str, field: str, value: object):
    """Limits are told where they are crossed."""
    text = refusal(tool, LEAST[ToolName(tool)] | {field: value})

    assert text.startswith(f"Invalid input for {tool}: {field}: ")


@pytest.mark.parametrize("given_", [None, 1, True, "ls", ["ls"]])
def test_an_input_that_is_no_object_is_refused(given_: object):
    """A model may send anything."""
    assert refusal("bash", given_).startswith("Invalid input for bash: input: ")


def test_an_unknown_tool_is_answered_with_the_known_ones():
    """So that the next call can be right."""
    text = refusal("run_command", {"command": "ls"})

    assert "'run_command'" in text
    assert all(tool in text for tool in ToolName)


@pytest.mark.parametrize(
    ("tool", "given_"), [("bash", {"command": "ls", "x" * 100_000: 1}), ("x" * 100_000, {})]
)
def test_a_refusal_stays_short_whatever_was_written(tool: str, given_: dict[str, Any]):
    """It stays in the transcript, and is paid for with every later turn."""
    assert len(refusal(tool, given_)) <= LONGEST_ERROR


def test_errors_never_echo_a_value():
    """A value may be a secret, or ten megabytes."""
    text = refusal("bash", {"command": 5_550_123, "timeout_seconds": "hunter2", "background": "swordfish"})

    assert "command" in text
    assert not [value for value in ("5550123", "hunter2", "swordfish") if value in text]


@pytest.mark.parametrize(("names", "end"), [("abcde", "permitted"), ("abcdef", "; and 1 more")])
def test_many_errors_are_counted(names: str, end: str):
    """Five are named, the rest is a number."""
    with pytest.raises(ValidationError) as found:
        Bash.model_validate({"command": "ls", **dict.fromkeys(names, 1)})
    text = describe_errors(found.value)

    assert text.startswith("a: ")
    assert text.endswith(end)
    assert 5 == text.count("not permitted")


def test_defaults_are_those_the_model_reads_of():
    """A command runs for two minutes, a file is read from its start."""
    assert Bash(command="ls") == Bash(command="ls", timeout_seconds=COMMAND_SECONDS, background=False)
    assert ReadFile(path="a") == ReadFile(path="a", offset=1, limit=MAX_LINES)


# --- what changes ---------------------------------------------------------------------------------------


def test_only_these_tools_may_change_the_workspace():
    """They run in order, at most once, and are followed by a capture."""
    assert {"write_file", "edit_file", "bash"} == {tool for tool in ToolName if is_changing(tool)}


def test_an_unknown_tool_changes_nothing():
    """It is never run."""
    assert not is_changing("rm_rf")


# --- labels ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tool", "given_", "shown"),
    [
        ("bash", {"command": "npm test\n  --watch"}, "npm test --watch"),
        ("write_file", {"path": "a.py", "content": "secret"}, "a.py"),
        ("grep", {"pattern": "TODO", "path": "src"}, "src"),
        ("grep", {"pattern": "TODO"}, "TODO"),
        ("narrate", {"message": "I begin.", "phase_name": "Start"}, "I begin."),
        ("document", {"section": "faq", "content": "…"}, "faq"),
        ("take_screenshot", {}, "take_screenshot"),
        ("bash", {"command": " "}, "bash"),
        ("bash", {"command": 3}, "bash"),
        ("bash", {"command": "a\0b\ud83d"}, "ab?"),
        ("bash", None, "bash"),
    ],
)
def test_a_label_says_what_a_call_is_about(tool: str, given_: Any, shown: str):
    """A command, a path or a message; else the tool's name, whatever was written."""
    assert shown == label(tool, given_)


@settings(deadline=None)
@given(st.text() | st.text(min_size=201), st.dictionaries(st.sampled_from(["command", "path"]), st.text()))
def test_a_label_is_one_short_line(tool: str, given_: dict[str, Any]):
    """At most 200 characters, also for an unknown tool: it stands in history and in summaries."""
    shown = label(tool, given_)

    assert len(shown) <= 200
    assert len(shown.splitlines()) <= 1


# --- what the model sees --------------------------------------------------------------------------------


def test_every_tool_is_defined_in_its_order():
    """The order is part of the cached prefix of each request."""
    assert [*ToolName] == [one["name"] for one in definitions()]
    assert [*ToolName] == [*INPUTS]


def test_definitions_are_the_same_text_in_every_process():
    """A difference would throw away the prompt cache after each restart of a worker."""
    code = "import json; from workflows.catalogue import definitions; print(json.dumps(definitions()))"
    told = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT, env={"PYTHONHASHSEED": "7"}, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip

    assert json.dumps(definitions()) == told.rstrip("\n")


@pytest.mark.parametrize("definition", definitions(), ids=lambda one: one["name"])
def test_each_schema_is_that_of_an_object(definition: dict[str, Any]):
    """As the Messages API wants it, with the fields that `parse_call` takes and refuses."""
    schema, tool = definition["input_schema"], ToolName(definition["name"])

    assert {"name", "description", "input_schema"} == set(definition)
    assert ("object", False) == (schema["type"], schema["additionalProperties"])
    assert set(INPUTS[tool].model_fields) == set(schema["properties"])
    assert set(LEAST[tool]) == set(schema.get("required", []))
    assert definition["description"].strip()
