"""Whatever the model writes into a call, it reads what to do instead; nothing is raised, hung or touched."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from activities.events import EventStream
from activities.objects import Objects
from activities.settings import Settings
from tests.contract.conftest import Bench, open_bench
from workflows.catalogue import INPUTS, MAX_FILE_BYTES, InvalidToolCall, ToolName, parse_call
from workflows.files import SandboxRef

Given = dict[str, Any]
SHORT = timedelta(seconds=30)
SECONDS = 20
"""Far above what any of these calls takes, far below what a hang would."""
LEAST: dict[ToolName, Given] = {
    ToolName.READ_FILE: {"path": "plain"},
    ToolName.WRITE_FILE: {"path": "plain", "content": "x"},
    ToolName.EDIT_FILE: {"path": "plain", "old_string": "a", "new_string": "b"},
    ToolName.BASH: {"command": "touch /tmp/ran"},
    ToolName.GREP: {"pattern": "x"},
    ToolName.GLOB: {"pattern": "*"},
    ToolName.TAKE_SCREENSHOT: {},
    ToolName.NARRATE: {"message": "hello"},
    ToolName.DOCUMENT: {"section": "faq", "content": "hello"},
}
"""An input of each tool that is right, to be spoiled in one place."""
PREPARE = r"""
mkdir -p ../outside dir && echo secret > ../outside/secret && echo plain > plain && echo 'a a' > twice
ln -s ../outside away; ln -s ../outside/secret leak; ln -s /dev/zero zero; ln -s loop loop
ln -s ../new dangling
mkfifo fifo; printf 'ELF\0\0' > binary; truncate -s 11M huge; python3 -c '
import socket; socket.socket(socket.AF_UNIX).bind("socket")'
rm -f /tmp/ran
"""
LOOK = "cd ~; ls -A | grep -v '^[.]'; find outside | sort; cat outside/secret; ls /tmp/ran"
UNTOUCHED = "outside\nworkspace\noutside\noutside/secret\nsecret"
OUTSIDE = (
    "../x",
    "/etc/passwd",
    "away/x",
    "away/secret",
    "leak",
    "zero",
    "/dev/zero",
    "dangling",
    "dir/../../x",
)
ODD = ("dir", "fifo", "socket", "binary", "huge", "loop", "plain/below", "x" * 300, "y/" * 2_000, "~/plain")
"""Paths that no file tool can read."""


@dataclass(frozen=True)
class Room:
    """One sandbox for all cases, with traps in its workspace."""

    bench: Bench
    sandbox: SandboxRef

    async def refusal(self, tool: str, given_: object) -> str:
        """Make a call that must fail; gives what the model reads."""
        use = f"toolu_{uuid.uuid4().hex}"
        head = await self.bench.reply((use, tool, given_))
        async with asyncio.timeout(SECONDS):
            outcome = await self.bench.run(self.sandbox, head, use, tool)
        kept = await self.bench.transcript.result(head, use)
        assert kept is not None
        block = json.loads(kept.body)

        assert outcome.is_error, block
        assert block["is_error"]
        return block["content"]


@pytest.fixture(scope="module")
async def room(
    settings: Settings, engine: AsyncEngine, objects: Objects, events: EventStream
) -> AsyncIterator[Room]:
    """The shared sandbox; what lies outside its workspace must be as it was when all calls were made."""
    async with open_bench(settings, engine, objects, events) as bench:
        sandbox = await bench.create()
        prepared = await bench.bash(sandbox, PREPARE)
        assert not prepared.is_error, prepared.preview
        yield Room(bench, sandbox)
        assert UNTOUCHED == (await bench.client.run(sandbox.sandbox_id, LOOK, within=SHORT)).stdout.strip()


# --- what does not validate ---------------------------------------------------------------------------


LARGE = ("content", "old_string", "new_string")
"""Fields that take a whole file."""


def misfits() -> Mapping[str, tuple[ToolName, object, str]]:
    """A case of each kind for each tool: its input, and the field that the answer must name."""
    found: dict[str, tuple[ToolName, object, str]] = {}
    for tool, least in LEAST.items():
        found[f"{tool}-none"] = tool, None, "input"
        found[f"{tool}-list"] = tool, [least], "input"
        found[f"{tool}-extra"] = tool, least | {"file": "x"}, "file"
        for name in least:
            found[f"{tool}-missing-{name}"] = tool, {k: v for k, v in least.items() if k != name}, name
        for name, field in INPUTS[tool].model_fields.items():
            text = field.annotation is str
            found[f"{tool}-type-{name}"] = tool, least | {name: {"a": [1]}}, name
            length = MAX_FILE_BYTES if name in LARGE else 100_000
            enormous = "x" * (length + 1) if text else 10**300
            found[f"{tool}-enormous-{name}"] = tool, least | {name: enormous}, name
            if text:
                found[f"{tool}-nul-{name}"] = tool, least | {name: "/a\0b"}, name
    return found


MISFITS = misfits()


@pytest.mark.parametrize("case", MISFITS)
async def test_an_input_that_does_not_fit_is_told(room: Room, case: str):
    """Missing, extra, wrong-typed, enormous and NUL: the field is named, and what the tool takes."""
    tool, given_, field = MISFITS[case]

    text = await room.refusal(tool, given_)

    assert text.startswith(f"Invalid input for {tool}: {field}")
    assert "It takes: " in text
    assert len(text) < 1_000


# --- what validates and is wrong in this workspace -----------------------------------------------------


@pytest.mark.parametrize("path", OUTSIDE)
@pytest.mark.parametrize("tool", ["read_file", "write_file", "edit_file", "grep", "glob"])
async def test_a_path_that_leads_outside_is_refused(room: Room, tool: ToolName, path: str):
    """By dots, from the root, or through a symlink, dangling ones included."""
    text = await room.refusal(tool, LEAST[tool] | {"path": path})

    assert "outside the workspace" in text
    assert "Give a path inside it" in text


@pytest.mark.parametrize("path", ODD)
@pytest.mark.parametrize("tool", ["read_file", "write_file", "edit_file"])
async def test_a_path_that_is_no_text_file_is_refused(room: Room, tool: ToolName, path: str):
    """Directories, FIFOs, sockets, loops, binary and huge files, impossible names: each with a word."""
    if path in {"binary", "~/plain"} and tool == "write_file":
        pytest.skip("may be written")
    text = await room.refusal(tool, LEAST[tool] | {"path": path})

    assert text.strip()
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("tool", "given_", "said"),
    [
        ("read_file", {"path": "missing"}, "does not exist"),
        ("read_file", {"path": "plain", "offset": 99}, "has 1 lines"),
        ("read_file", {"path": "fifo"}, "is not opened"),
        ("read_file", {"path": "socket"}, "cannot be opened"),
        ("read_file", {"path": "dir"}, "List it with glob"),
        ("read_file", {"path": "binary"}, "Look at it in bash"),
        ("read_file", {"path": "huge"}, "search it with grep"),
        ("write_file", {"path": "plain", "content": "x"}, "Read it first"),
        ("write_file", {"path": "wide", "content": "é" * (6 * 1024 * 1024)}, "more than"),
        ("edit_file", {"path": "plain", "old_string": "plain", "new_string": "x"}, "Read it first"),
        ("edit_file", {"path": "missing", "old_string": "a", "new_string": "b"}, "does not exist"),
        ("bash", {"command": "é" * 100_000}, "Write a script"),
        ("bash", {"command": "exit 3"}, "Exit code 3"),
        ("bash", {"command": "cat fifo", "timeout_seconds": 1}, "ran longer than 1 seconds"),
        ("grep", {"pattern": "("}, "search failed"),
        ("grep", {"pattern": "(" * 4_000}, "search failed"),
        ("grep", {"pattern": "x", "glob": "[z-a]"}, "search failed"),
        ("grep", {"pattern": "x", "path": "missing"}, "does not exist"),
        ("grep", {"pattern": "x", "path": "fifo"}, "no regular file"),
        ("grep", {"pattern": "x", "path": "binary"}, "binary file"),
        ("grep", {"pattern": "x", "path": "huge"}, "more than"),
        ("glob", {"pattern": "/etc/*"}, "must be relative"),
        ("glob", {"pattern": "../*"}, "must be relative"),
        ("glob", {"pattern": "*", "path": "missing"}, "does not exist"),
        ("glob", {"pattern": "*", "path": "plain"}, "does not exist"),
        ("take_screenshot", {"port": 1}, "Nothing"),
        ("take_screenshot", {"path": "no slash"}, "path"),
        ("document", {"section": "appendix", "content": "x"}, "section"),
        ("rm_rf", {"path": "."}, "The tools are: read_file"),
    ],
)
async def test_a_call_that_cannot_be_made_says_what_to_do(room: Room, tool: str, given_: Given, said: str):
    """The reason and the way out, in the words of the model's own tools."""
    assert said.lower() in (await room.refusal(tool, given_)).lower()


@pytest.mark.parametrize("tool", ToolName)
async def test_half_a_surrogate_pair_harms_nobody(room: Room, tool: ToolName):
    """The transcript cannot hold one, so the call is made with the replacement character."""
    spoiled = {name: f"{value}\ud83d" for name, value in LEAST[tool].items()}
    if "path" in spoiled:
        spoiled["path"] = "missing/\ud83d"
    async with asyncio.timeout(SECONDS):
        outcome = await room.bench.use(room.sandbox, tool, spoiled)

    assert outcome.preview


# --- whatever JSON can hold -----------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=()), max_size=20)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
NAMES = st.sampled_from(sorted({name for model in INPUTS.values() for name in model.model_fields}))
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner), max_leaves=5)


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(ToolName), st.dictionaries(NAMES | TEXTS, VALUES) | VALUES)
def test_every_json_is_parsed_or_refused(tool: ToolName, given_: Any):
    """Nothing else is raised; what is parsed can be sent to a sandbox, what is refused is told shortly."""
    try:
        parsed = parse_call(tool, given_).model_dump_json()
    except InvalidToolCall as refused:
        parsed, told = "", str(refused)
    else:
        told = ""

    assert bool(parsed) != bool(told)
    assert len(told) < 2_500
