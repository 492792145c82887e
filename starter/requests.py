"""What a person hands over on disk or on the command line, made into the input of a build."""

import json
import re
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from pydantic import JsonValue

from workflows.texts import clean

SERVER_LIMIT = 2 * 1024 * 1024
"""Bytes above which the server refuses a start; no build would exist to say so."""


class UnusableRequest(Exception):
    """The request cannot be sent; the text says what to mend."""


def read_request(path: Path) -> dict[str, JsonValue]:
    """Read a request from a JSON file; raises UnusableRequest."""
    try:
        value = clean(cast("JsonValue", json.loads(path.read_text(encoding="utf-8"))))
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableRequest(f"{path} cannot be read: {error}") from None
    except (ValueError, RecursionError) as error:
        raise UnusableRequest(f"{path} is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise UnusableRequest(f'{path} must hold one JSON object, e.g. {{"idea": "a habit tracker"}}.')
    check_size(value)
    return value


def check_size(request: dict[str, JsonValue]) -> None:
    """Refuse what the server would not even take; raises UnusableRequest."""
    size = len(json.dumps(request).encode())
    if size > SERVER_LIMIT:
        raise UnusableRequest(
            f"The request has {size:,} bytes; the server takes {SERVER_LIMIT:,} and a build 262,144. "
            "Shorten `idea_brief`, or store it with the project and name `project`."
        )


def workflow_id_for(request: dict[str, JsonValue]) -> str:
    """A readable, new workflow id: project or idea, the time, and two bytes by chance."""
    name = str(request.get("project") or request.get("idea") or "build")
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "build"
    return f"{slug}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def headline_of(request: dict[str, JsonValue]) -> str:
    """One line on what is built, for the Web UI."""
    brief = request.get("idea_brief")
    described = brief.get("problem_statement") if isinstance(brief, dict) else ""
    fork = request.get("fork")
    gone_on = f"a fork at turn {fork.get('turn')} of {fork.get('build')}" if isinstance(fork, dict) else ""
    said = str(request.get("idea") or described or request.get("project") or gone_on or "a build")
    return " ".join(said.split())[:200]
