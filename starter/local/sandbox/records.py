"""What is known of each sandbox, kept in its directory so that it outlives the server; starts nothing."""

import logging
import os
import secrets
import shutil
import string
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

ID_LENGTH = 20
ID_ALPHABET = string.ascii_lowercase + string.digits
RECORD = "record.json"
DELETED = ".deleted"

log = logging.getLogger(__name__)


def now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)


class State(StrEnum):
    """E2B's states of a sandbox."""

    RUNNING = "running"
    PAUSED = "paused"


class Record(BaseModel):
    """One sandbox."""

    sandbox_id: str
    template_id: str
    started_at: datetime
    run_began_at: datetime = Field(default_factory=now)
    """When it was created or last resumed."""
    end_at: datetime
    """When its timeout ends; without meaning while paused."""
    timeout: int
    """Seconds it was created with."""
    state: State = State.RUNNING
    access_token: str = Field(repr=False)
    """What the data plane asks for."""
    traffic_token: str | None = Field(default=None, repr=False)
    """What its ports ask for by host name; none: they are public."""
    idempotency_key: str | None = None
    metadata: dict[str, str] = {}
    environment: dict[str, str] = Field(default={}, repr=False)
    pause_on_timeout: bool = False
    keep_memory_on_timeout: bool = True
    auto_resume: bool = False
    internet: bool = True
    previews: dict[int, int] = {}
    """Port inside the sandbox to port of its listener outside."""
    process: tuple[int, int] | None = None
    """Process id and start time in clock ticks of what runs it, to be reaped by the next server."""


class RecordStore:
    """The directories of all sandboxes under one data directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def directory(self, sandbox_id: str) -> Path:
        """Return where a sandbox keeps its record, home and tmp."""
        return self.root / sandbox_id

    def add(self, record: Record) -> None:
        """Make a sandbox's directories and keep its record."""
        directory = self.directory(record.sandbox_id)
        for path in (directory, directory / "home", directory / "tmp"):
            path.mkdir(mode=0o700)
        self.save(record)

    def save(self, record: Record) -> None:
        """Keep a record, whole or not at all."""
        path = self.directory(record.sandbox_id) / RECORD
        fresh = path.with_suffix(".new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(record.model_dump_json())
        fresh.replace(path)

    def load(self) -> Iterator[Record]:
        """Yield every record, and remove what deletions and creations cut short left behind."""
        for directory in sorted(self.root.iterdir()):
            if directory.suffix == DELETED or not (directory / RECORD).exists():
                _remove_tree(directory)
                continue
            try:
                yield Record.model_validate_json((directory / RECORD).read_bytes())
            except ValidationError:
                log.exception(
                    "Sandbox %s has an unreadable record; its files are left alone.", directory.name
                )

    def remove(self, sandbox_id: str) -> None:
        """Delete a sandbox's directory with all its files."""
        directory = self.directory(sandbox_id)
        doomed = directory.with_name(directory.name + DELETED)
        with suppress(FileNotFoundError):
            directory.rename(doomed)
            _remove_tree(doomed)


def new_id() -> str:
    """Return a fresh id in E2B's form."""
    return "".join(secrets.choice(ID_ALPHABET) for _ in range(ID_LENGTH))


def new_record(template_id: str, *, timeout: int, **rest: Any) -> Record:
    """Return the record of a sandbox about to be created, with a fresh id in E2B's form."""
    started_at = now()
    return Record(
        sandbox_id=new_id(),
        template_id=template_id,
        started_at=started_at,
        run_began_at=started_at,
        end_at=started_at + timedelta(seconds=timeout),
        timeout=timeout,
        access_token=secrets.token_hex(16),
        **rest,
    )


def like(old: Record, *, timeout: int) -> Record:
    """Return the record of another sandbox that is created as an older one was."""
    kept = {"metadata", "environment", "pause_on_timeout", "keep_memory_on_timeout", "internet"}
    return new_record(old.template_id, timeout=timeout, **old.model_dump(include=kept))


def _remove_tree(directory: Path) -> None:
    shutil.rmtree(directory, onerror=_open_and_retry)


def _open_and_retry(remove: Callable[[str], Any], path: str, _error: object) -> None:
    # A plain user cannot empty a directory whose own write bit is off.
    with suppress(OSError):
        Path(path).parent.chmod(0o700)
        if Path(path).is_dir() and not Path(path).is_symlink():
            Path(path).chmod(0o700)
            shutil.rmtree(path, ignore_errors=True)
        else:
            remove(path)
