"""Which module answers which command, and how its failure becomes a value."""

from __future__ import annotations

from typing import Any, Callable, cast

from .failures import RunnerFailure, describe_os_error

COMMANDS = {
    "probe": "probe",
    "call": "calls",
    "interrupt": "calls",
    "read_file": "reading",
    "grep": "search",
    "glob": "globbing",
    "screenshot": "looks",
    "capture": "capture",
    "pending": "publish",
    "upload": "upload",
    "restore": "restore",
    "mark": "marker",
    "verify": "marker",
    "processes": "processes",
    "stop_processes": "processes",
}
"""Command → the module that has a function of that name; imported late, as each run pays for it."""


def answer(command: str, request: dict[str, Any]) -> dict[str, Any]:
    """Run one command; every failure becomes a value."""
    try:
        return _function(command)(request)
    except RunnerFailure as failure:
        begun = {"begun": True} if failure.begun else {}
        return {"error": {"kind": failure.kind, "message": str(failure), **begun}}
    except OSError as error:
        return {"error": describe_os_error(error)}
    except KeyError as error:
        return {"error": {"kind": "invalid_request", "message": f"The request lacks {error}."}}
    except Exception as error:  # noqa: BLE001 - the boundary: a bug too must reach the worker as a value
        return {"error": {"kind": "internal", "message": f"{type(error).__name__}: {error}"}}


def _function(command: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    from importlib import import_module

    if command not in COMMANDS:
        raise RunnerFailure("unknown_command", f"No command {command!r}; known: {', '.join(COMMANDS)}.")
    module = import_module(f"{__package__}.{COMMANDS[command]}")
    return cast("Callable[[dict[str, Any]], dict[str, Any]]", getattr(module, command))
