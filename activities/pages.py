"""What a page says of itself when it is looked at, in a few lines that outlive its image. Pure."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

MAX_CHARS: Final = 1_000
"""The longest description of a page on all its screens."""
SHOWN_ERRORS: Final = 3
"""Console errors that are told in words; of the others only how many."""
_TITLE_CHARS: Final = 80
_TEXT_CHARS: Final = 200
_ERROR_CHARS: Final = 80


class Seen(NamedTuple):
    """One page as a browser had it."""

    title: str = ""
    status: int = 0
    """Of HTTP; 0: not known."""
    text: str = ""
    """What can be read on it, from the top."""
    errors: tuple[str, ...] = ()
    """The first errors of its console."""
    error_count: int = 0


def read_seen(given: Mapping[str, Any]) -> Seen:
    """Read what the runner answered of a page; what is missing or no text is left out."""
    errors: Any = given.get("errors")
    return Seen(
        title=str(given.get("title") or ""),
        status=int(given.get("status") or 0),
        text=str(given.get("text") or ""),
        errors=tuple(str(error) for error in errors or () if not isinstance(errors, str)),
        error_count=int(given.get("error_count") or 0),
    )


def describe(pages: Mapping[str, Seen]) -> str:
    """Say in a few lines what was seen on each screen; screens that saw the same share a line."""
    told: dict[str, list[str]] = {}
    for screen, seen in pages.items():
        told.setdefault(_line(seen), []).append(screen)
    return "\n".join(f"{' and '.join(screens)}: {line}" for line, screens in told.items())[:MAX_CHARS]


def _line(seen: Seen) -> str:
    status = f"HTTP {seen.status}, " if seen.status else ""
    title = f"title {_cut(seen.title, _TITLE_CHARS)!r}" if seen.title.strip() else "no title"
    text = f"it reads {_cut(seen.text, _TEXT_CHARS)!r}" if seen.text.strip() else "nothing to read on it"
    return f"{status}{title}, {text}, {_errors(seen)}"


def _errors(seen: Seen) -> str:
    if not seen.error_count:
        return "no console errors"
    first = "; ".join(_cut(error, _ERROR_CHARS) for error in seen.errors[:SHOWN_ERRORS])
    return f"{seen.error_count} console error{'s' if seen.error_count > 1 else ''}: {first}"


def _cut(text: str, chars: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= chars else f"{text[: chars - 1]}…"
