"""What a tool call gave, before it is written: texts and images, cut and cleaned for the model. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from pydantic import JsonValue

from activities.screenshots import Shot
from workflows.catalogue import MAX_OUTPUT_CHARS

NAME_CHARS = 80
"""Characters of a file's name; notes stay within the runner's ROOM_FOR_NOTES."""
RUNNING_CHARS = 80
"""Characters of a background command that history keeps."""

CUT_SHORT: Final = (
    "[The founder interrupted this call; it may have done part of its work. It gave until then:]"
)
DISK_FULL: Final = (
    "its disk is full. Short commands in bash still work: find what is large (du -xah ~ | sort -h | tail), "
    "delete what you do not need with rm, then make this call again."
)
NO_TIME: Final = (
    "Not begun: this call may take {allowed} s, but the provider pauses this sandbox in {left} s. Make it "
    "again in your next turn, when the sandbox is fresh, or give a command a shorter timeout_seconds."
)
INTERRUPTED: Final = (
    "Interrupted: the sandbox was lost or restarted while this call ran, so it may or may not have taken "
    "effect. Look at the files and processes before you repeat it."
)
GONE: Final = (
    "[The workspace was moved or deleted. It is there again, empty, and only what lies in it is saved: if "
    "you still need the files, move them back into it.]"
)
CUT_OFF: Final = (
    "Interrupted: {why}. What ran was stopped, and it may have done part of its work. Look at the files and "
    "processes before you repeat it."
)


class Result(NamedTuple):
    """What a call gave, before it is written."""

    text: str
    is_error: bool = False
    images: tuple[Shot, ...] = ()
    interrupted: bool = False
    captured: int = 0
    uncaptured: bool = False
    running: tuple[str, ...] | None = None
    phase: str = ""
    phase_again: bool = False
    plan_item: str = ""

    @property
    def effects(self) -> dict[str, JsonValue]:
        """What the workflow is told of the call beside its text, as `ToolOutcome` names it."""
        return {
            "interrupted": self.interrupted,
            "captured": self.captured,
            "uncaptured": self.uncaptured,
            "running": None if self.running is None else list(self.running),
            "phase": self.phase,
            "phase_again": self.phase_again,
            "plan_item": self.plan_item,
        }

    @property
    def content(self) -> JsonValue:
        """The content of the tool_result block."""
        if not self.images:
            return self.text
        return [{"type": "text", "text": self.text}, *map(_image, self.images)]


def changed(answer: Mapping[str, Any]) -> Result:
    """Turn the runner's answer to a changing call into a result for the model."""
    capture: Mapping[str, Any] = answer.get("capture") or {}
    captured = int(capture.get("number", 0)) if capture.get("changed") else 0
    text = str(answer.get("text", ""))
    if omitted := capture.get("newly_omitted"):
        text += f"\n[Not saved, too large or unreadable, and lost when the sandbox is: {_names(omitted)}]"
    if torn := capture.get("torn"):
        text += f"\n[Saved while they were being written, and perhaps not whole: {_names(torn)}]"
    if answer.get("workspace_gone"):
        text += f"\n{GONE}"
    if unsaved := answer.get("capture_error"):
        hint = ". Delete what is large and not needed" if unsaved.get("kind") == "disk_full" else ""
        text += f"\n[What this call changed is not saved yet: {str(unsaved.get('message'))[:500]}{hint}]"
    interrupted = answer["status"] == "interrupted"
    return Result(
        text or "(no output)",
        is_error=bool(answer["is_error"]) or answer["status"] != "done",
        interrupted=interrupted,
        captured=captured,
        uncaptured=bool(unsaved),
        running=tuple(str(command)[:RUNNING_CHARS] for command in answer.get("running") or ()),
    )


def _names(found: Sequence[object]) -> str:
    return ", ".join(str(name)[:NAME_CHARS] for name in found[:10])


def _image(shot: Shot) -> JsonValue:
    source: JsonValue = {"type": "base64", "media_type": shot.media_type, "data": shot.data}
    return {"type": "image", "source": source}


def shorten(text: str) -> str:
    """Keep head and tail of a text that is longer than the model is sent."""
    if len(text) <= MAX_OUTPUT_CHARS:
        return text
    half = MAX_OUTPUT_CHARS // 2 - 50
    return f"{text[:half]}\n\n[{len(text) - 2 * half} characters left out]\n\n{text[-half:]}"


def clean(text: str) -> str:
    """Drop what neither Postgres nor UTF-8 can hold: NUL and lone surrogates."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()
