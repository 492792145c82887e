"""The fence of a sandbox's generation: what a replaced one says of its calls is not written any more."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Table, exists, literal, select
from sqlalchemy.dialects.postgresql import Insert, insert
from temporalio.exceptions import ApplicationError

from activities.tables import sandboxes, transcript
from workflows.errors import FailureType


def fenced(table: Table, row: Mapping[str, Any]) -> Insert:
    """Insert a call's row, unless it is there or a newer sandbox than that of its generation was opened.

    No lock is held against one that is opened meanwhile: an attempt there finds this row, or its own stays.
    """
    newer = _newer_sandbox(row["head_id"], row["generation"])
    values = select(*map(literal, row.values())).where(~newer)
    return insert(table).from_select(list(row), values).on_conflict_do_nothing()


def replaced(what: str, generation: int) -> ApplicationError:
    """Make the SandboxLost of a row that was not written."""
    return ApplicationError(
        f"{what}: sandbox generation {generation} has been replaced.",
        type=FailureType.SANDBOX_LOST,
        non_retryable=True,
    )


def _newer_sandbox(head: int, generation: int) -> ColumnElement[bool]:
    """Whether the build that owns `head` has opened a newer sandbox than this generation's."""
    return exists().where(
        sandboxes.c.build_id == transcript.c.build_id,
        transcript.c.id == head,
        sandboxes.c.role == "build",
        sandboxes.c.generation > generation,
    )
