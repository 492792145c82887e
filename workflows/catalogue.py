"""The tools as the model sees them: names, input models, JSON schema. No I/O, no vendor."""

from enum import StrEnum
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError

MAX_OUTPUT_CHARS = 30_000
"""The longest tool result the model is sent, characters; head and tail are kept."""
MAX_LINES = 2_000
"""Lines that read_file returns by default."""
MAX_LINE_CHARS = 2_000
"""Where a line of a file is cut."""
MAX_FILE_BYTES = 10 * 1024 * 1024
"""The largest file that read_file opens and write_file writes."""
MAX_MATCHES = 250
"""Lines that grep returns by default."""
MAX_MATCHES_ASKED = 2_000
"""Lines that grep may be asked for."""
MAX_PATHS = 100
"""Paths that glob returns."""
COMMAND_SECONDS = 120
"""How long a command runs by default."""
MAX_COMMAND_SECONDS = 600
"""The longest a foreground command may ask for."""


FileType = Literal[
    "",
    "c",
    "cpp",
    "css",
    "csv",
    "go",
    "html",
    "java",
    "js",
    "json",
    "kotlin",
    "md",
    "php",
    "py",
    "ruby",
    "rust",
    "sh",
    "sql",
    "svelte",
    "swift",
    "toml",
    "ts",
    "txt",
    "vue",
    "xml",
    "yaml",
]
FILE_TYPES: tuple[str, ...] = get_args(FileType)[1:]
"""What grep's `type` may be; the runner knows their globs."""


class ToolInput(BaseModel):
    """Input of a tool; unknown fields are refused so that the model learns of a typo."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _require_characters(value: object) -> object:
    """Refuse what no file name, command or UTF-8 text can hold."""
    if not isinstance(value, str):
        return value
    if "\0" in value:
        raise ValueError("It holds a NUL character. Leave it out; bytes are written by a command in bash")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("It holds half of a surrogate pair. Write the whole character instead") from None
    return value


Text = Annotated[str, BeforeValidator(_require_characters)]
Path = Annotated[Text, Field(min_length=1, max_length=4_096, description="Relative to the workspace.")]
Number = Annotated[int, Field(le=MAX_FILE_BYTES)]
"""A position; no text has more lines than the largest file has bytes."""


class ReadFile(ToolInput):
    """Read a text file of the workspace with line numbers, or look at an image. Read before you edit."""

    path: Path
    offset: Annotated[Number, Field(ge=1, description="First line, counted from 1.")] = 1
    limit: Annotated[int, Field(ge=1, le=MAX_LINES, description="Lines to return.")] = MAX_LINES


class WriteFile(ToolInput):
    """Write a whole file; parents are created. A file that exists must have been read first."""

    path: Path
    content: Annotated[Text, Field(max_length=MAX_FILE_BYTES)]


class EditFile(ToolInput):
    """Replace an exact text in a file. It must occur once, or set replace_all. Read the file first."""

    path: Path
    old_string: Annotated[Text, Field(min_length=1, max_length=MAX_FILE_BYTES)]
    new_string: Annotated[Text, Field(max_length=MAX_FILE_BYTES)]
    replace_all: bool = False


class Bash(ToolInput):
    """Run a shell command in the workspace. The working directory persists between calls.

    Long-running servers: set background; the result names a log file to read.
    """

    command: Annotated[Text, Field(min_length=1, max_length=100_000)]
    timeout_seconds: Annotated[int, Field(ge=1, le=MAX_COMMAND_SECONDS)] = COMMAND_SECONDS
    background: bool = False


class Grep(ToolInput):
    """Search file contents with a regular expression (ripgrep)."""

    pattern: Annotated[Text, Field(min_length=1, max_length=4_096)]
    path: Path = "."
    glob: Annotated[
        Text,
        Field(max_length=4_096, description="Only files that match, e.g. '*.{js,ts}'; '!*.md' leaves out."),
    ] = ""
    type: Annotated[
        FileType,
        Field(description="Only files of this type; a glob that takes files in goes before it."),
    ] = ""
    mode: Literal["files", "content", "count"] = "files"
    ignore_case: bool = False
    multiline: Annotated[bool, Field(description="Let a match span lines; . matches a line end too.")] = False
    context: Annotated[int, Field(ge=0, le=20, description="Lines around a match (content mode).")] = 0
    before: Annotated[int, Field(ge=0, le=20, description="Lines before a match, if not as after it.")] = 0
    after: Annotated[int, Field(ge=0, le=20, description="Lines after a match, if not as before it.")] = 0
    head_limit: Annotated[int, Field(ge=1, le=MAX_MATCHES_ASKED, description="Lines to return.")] = (
        MAX_MATCHES
    )
    offset: Annotated[Number, Field(ge=0, description="Lines to skip before these.")] = 0


class Glob(ToolInput):
    """Find files by name, newest first, e.g. '**/*.py'."""

    pattern: Annotated[Text, Field(min_length=1, max_length=4_096)]
    path: Path = "."


class TakeScreenshot(ToolInput):
    """Look at the running app in a desktop and a mobile browser. Start it first, on $PORT or 8000."""

    path: Annotated[Text, Field(pattern=r"^/", max_length=2_048, description="URL path.")] = "/"
    port: Annotated[int, Field(ge=1, le=65_535)] = 8000


class Narrate(ToolInput):
    """Tell the founder what you do and why, about once a major step."""

    message: Annotated[Text, Field(min_length=1, max_length=4_000)]
    phase_name: Annotated[Text, Field(max_length=100, description="Set when a phase of the plan begins.")] = (
        ""
    )
    plan_item: Annotated[
        Text, Field(max_length=200, description="Set when an item of a phase begins, in its words.")
    ] = ""


class Document(ToolInput):
    """Write a section of the guide for the people who will use the software."""

    section: Literal["overview", "features", "getting_started", "faq"]
    content: Annotated[Text, Field(min_length=1, max_length=20_000)]


class ToolName(StrEnum):
    """The tools, in the order that the model sees them."""

    READ_FILE = "read_file"
    WRITE_FILE = "write_file"
    EDIT_FILE = "edit_file"
    BASH = "bash"
    GREP = "grep"
    GLOB = "glob"
    TAKE_SCREENSHOT = "take_screenshot"
    NARRATE = "narrate"
    DOCUMENT = "document"


INPUTS: dict[ToolName, type[ToolInput]] = {
    ToolName.READ_FILE: ReadFile,
    ToolName.WRITE_FILE: WriteFile,
    ToolName.EDIT_FILE: EditFile,
    ToolName.BASH: Bash,
    ToolName.GREP: Grep,
    ToolName.GLOB: Glob,
    ToolName.TAKE_SCREENSHOT: TakeScreenshot,
    ToolName.NARRATE: Narrate,
    ToolName.DOCUMENT: Document,
}

CHANGING = frozenset({ToolName.WRITE_FILE, ToolName.EDIT_FILE, ToolName.BASH})
"""Tools that may change the workspace: run in order, captured, at most once."""


class InvalidToolCall(Exception):
    """The model's fault: unknown tool or input that does not validate; goes back to it as an error."""


def is_changing(tool: str) -> bool:
    """Tell whether a tool may change the workspace; an unknown tool may not, as it is never run."""
    return tool in CHANGING


def parse_call(tool: str, given: JsonValue) -> ToolInput:
    """Validate a tool call.

    Raises InvalidToolCall with a text for the model that names the field and the fix.
    """
    if tool not in set(ToolName):
        raise InvalidToolCall(f"There is no tool {tool[:100]!r}. The tools are: {', '.join(ToolName)}.")
    try:
        return INPUTS[ToolName(tool)].model_validate(given)
    except ValidationError as error:
        takes = ", ".join(
            name if field.is_required() else f"{name} (optional)"
            for name, field in INPUTS[ToolName(tool)].model_fields.items()
        )
        raise InvalidToolCall(
            f"Invalid input for {tool}: {describe_errors(error)}. Nothing was done. It takes: {takes}."
        ) from None


def describe_errors(error: ValidationError) -> str:
    """Name each wrong field and what it wants, without echoing its value; at most five."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    lines = [
        f"{'.'.join(map(str, item['loc']))[:100] or 'input'}: {item['msg'][:200]}".replace(
            "Value error, ", ""
        )
        for item in found[:5]
    ]
    more = f"; and {len(found) - 5} more" if found[5:] else ""
    return "; ".join(lines) + more


def label(tool: str, given: JsonValue) -> str:
    """What a person reads of a call: its command, path, pattern or message, one line, 200 characters."""
    values = given if isinstance(given, dict) else {}
    for key in ("command", "message", "path", "pattern", "section"):
        if isinstance(value := values.get(key), str) and value.strip():
            return _one_line(value)
    return _one_line(tool)


def _one_line(text: str) -> str:
    """Shorten to what history and Postgres can hold: no NUL, no lone surrogate."""
    return " ".join(text.replace("\0", "").split())[:200].encode("utf-8", "replace").decode()


def definitions() -> list[dict[str, JsonValue]]:
    """Give the tool list of a request, in a fixed order, as the Messages API wants it."""
    return [
        {
            "name": name.value,
            "description": " ".join((model.__doc__ or "").split()),
            "input_schema": {k: v for k, v in model.model_json_schema().items() if k not in _NOISE},
        }
        for name, model in INPUTS.items()
    ]


_NOISE = frozenset({"title", "description"})
