"""What a tool call answers: one shape for every tool and every end."""

from __future__ import annotations

from typing import Any


class Refusal(Exception):
    """The model's mistake, found before anything was changed; the text goes back to it."""


def outcome(status: str, text: str, **more: Any) -> dict[str, Any]:
    """Give a call's answer with every field present; `status` is done, interrupted, timeout or refused."""
    fields: dict[str, Any] = {
        "status": status,
        "exit_code": None,
        "text": text,
        "truncated": False,
        "output_path": None,
        "cwd": None,
        "log_path": None,
        "is_error": status != "done",
        "capture": None,
        "hash": None,
    }
    fields.update(more)
    return fields
