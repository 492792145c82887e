"""The money of sandbox time, as the database itself notes it: each move of a mark, each change of a row."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

WATCH = (
    """CREATE TABLE chaos_marks (id bigserial PRIMARY KEY, change bigint, build_id text, sandbox text,
        was timestamptz, now timestamptz)""",
    "CREATE TABLE chaos_time (id bigserial PRIMARY KEY, change bigint, build_id text, microseconds bigint)",
    """CREATE FUNCTION chaos_mark() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO chaos_marks (change, build_id, sandbox, was, now) VALUES (txid_current(), NEW.build_id,
            NEW.role || ' ' || NEW.generation, OLD.billed_until, NEW.billed_until);
        RETURN NULL; END $$""",
    """CREATE FUNCTION chaos_book() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO chaos_time (change, build_id, microseconds) VALUES (txid_current(), NEW.build_id,
            NEW.microseconds - CASE WHEN TG_OP = 'UPDATE' THEN OLD.microseconds ELSE 0 END);
        RETURN NULL; END $$""",
    """CREATE TRIGGER chaos_mark AFTER UPDATE ON sandboxes FOR EACH ROW
        WHEN (OLD.billed_until IS DISTINCT FROM NEW.billed_until) EXECUTE FUNCTION chaos_mark()""",
    """CREATE TRIGGER chaos_book AFTER INSERT OR UPDATE ON ledger FOR EACH ROW
        WHEN (NEW.kind = 'sandbox') EXECUTE FUNCTION chaos_book()""",
)
MARKS = "SELECT change, sandbox, was, now FROM chaos_marks WHERE build_id = :b ORDER BY id"
BOOKED = "SELECT change, microseconds FROM chaos_time WHERE build_id = :b ORDER BY id"


class Mark(NamedTuple):
    """Until when a sandbox is booked, as one transaction changed it; none: it does not run."""

    change: int
    """The transaction."""
    sandbox: str
    was: datetime | None
    now: datetime | None

    @property
    def microseconds(self) -> int:
        """How far it went on."""
        if self.was is None or self.now is None:
            return 0
        passed = self.now - self.was
        return (passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds


class Charges(NamedTuple):
    """What was booked of a build's sandbox time, in order."""

    marks: Sequence[Mark] = ()
    booked: Sequence[tuple[int, int]] = ()
    """Transaction and microseconds."""


async def watch(connection: AsyncConnection) -> None:
    """Have the database note each change from now on."""
    for statement in WATCH:
        await connection.execute(text(statement))


async def read(connection: AsyncConnection, build_id: str) -> Charges:
    """Read what was noted of a build."""
    marks = await connection.execute(text(MARKS), {"b": build_id})
    booked = await connection.execute(text(BOOKED), {"b": build_id})
    return Charges([Mark(*row) for row in marks], [(row.change, row.microseconds) for row in booked])


def judge_time(charges: Charges, microseconds: int) -> Iterator[str]:
    """No second of a sandbox is charged twice, and the ledger's `microseconds` are those of its marks."""
    booked: Counter[int] = Counter()
    for change, each in charges.booked:
        booked[change] += each
    moved = Counter[int]()
    until: dict[str, datetime] = {}
    for mark in charges.marks:
        if mark.change not in booked or mark.was is None or mark.now is None:
            continue
        moved[mark.change] += mark.microseconds
        if mark.was < until.get(mark.sandbox, mark.was):
            yield f"sandbox {mark.sandbox} was charged twice from {mark.was} to {until[mark.sandbox]}"
        until[mark.sandbox] = mark.now
    for change in booked:
        if moved[change] != booked[change]:
            yield f"{booked[change]} µs were booked where the marks of sandboxes moved by {moved[change]} µs"
    if sum(booked.values()) != microseconds:
        yield f"the ledger holds {microseconds} µs of sandbox time, {sum(booked.values())} µs were booked"
