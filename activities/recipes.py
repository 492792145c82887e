"""Which commands install, check and start a project, judged by its files. Pure; no I/O."""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from pydantic import BaseModel, ValidationError

WATCHED: Final = ("package.json", "pyproject.toml", "Procfile", "setup.cfg", "pytest.ini", "tox.ini")
"""Files whose text decides, besides the names of the others."""
_VENV: Final = "([ -d .venv ] || python3 -m venv .venv || uv venv .venv || python3 -m virtualenv .venv)"
_PIP: Final = ".venv/bin/python -m pip install --disable-pip-version-check --quiet"
_SERVE: Final = "python3 -m http.server $PORT --directory"
_PROGRAMS: Final[Mapping[str, str]] = {
    "manage.py": "python3 manage.py runserver 0.0.0.0:$PORT",
    "app.py": "python3 app.py",
    "main.py": "python3 main.py",
    "server.py": "python3 server.py",
    "index.html": f"{_SERVE} .",
    "public/index.html": f"{_SERVE} public",
    "dist/index.html": f"{_SERVE} dist",
}
"""What starts a project that has this file; the first found holds."""
_NO_TEST: Final = "no test specified"


class _Package(BaseModel):
    scripts: dict[str, str] = {}


class Files(NamedTuple):
    """What lies at the top of a workspace."""

    names: frozenset[str]
    """Files; folders end in a slash."""
    texts: Mapping[str, str]
    """Of the watched files that are there."""
    has_tests: bool = False
    """Whether a Python test lies anywhere in it."""
    has_python: bool = False

    @property
    def scripts(self) -> dict[str, str]:
        """The scripts of package.json."""
        try:
            return _Package.model_validate_json(self.texts.get("package.json", "{}")).scripts
        except ValidationError:
            return {}


def installs(files: Files) -> list[str]:
    """Give the commands that install what a project declares."""
    commands = ["bash setup.sh"] if "setup.sh" in files.names else []
    if "requirements.txt" in files.names:
        commands.append(f"{_VENV} && {_PIP} -r requirements.txt")
    elif "[project]" in files.texts.get("pyproject.toml", ""):
        commands.append(f"{_VENV} && {_PIP} -e .")
    if "package.json" in files.names:
        commands.append(_node_install(files))
    return commands


def _node_install(files: Files) -> str:
    if "package-lock.json" in files.names:
        return "npm ci --no-audit --no-fund"
    if "pnpm-lock.yaml" in files.names:
        return "npx --yes pnpm install --frozen-lockfile"
    if "yarn.lock" in files.names:
        return "npx --yes yarn install --frozen-lockfile"
    return "npm install --no-audit --no-fund"


def checks(files: Files) -> list[str]:
    """Give the commands that prove a project: its own scripts, its tests, at least that it compiles."""
    scripts = files.scripts
    commands = ["npm run build"] if "build" in scripts else []
    if "test" in scripts and _NO_TEST not in scripts["test"]:
        commands.append("npm test")
    if files.has_tests:
        commands.append(
            "if python3 -c 'import pytest' 2>/dev/null; then python3 -m pytest -q; "
            "else python3 -m unittest discover -v; fi"
        )
    elif files.has_python:
        commands.append("python3 -m compileall -q -x '(^|/)(\\.venv|venv|node_modules)/' .")
    return commands


def start(files: Files) -> str:
    """Give the command that serves a project on $PORT; empty when none is found."""
    if found := re.search(r"^web:\s*(\S.*)$", files.texts.get("Procfile", ""), re.MULTILINE):
        return found.group(1)
    scripts = (f"npm run {name}" for name in ("start", "dev", "preview") if name in files.scripts)
    programs = (command for name, command in _PROGRAMS.items() if name in files.names)
    return next(scripts, "") or next(programs, "")
