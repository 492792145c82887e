"""The parts of the stack as a person reads them."""

from collections.abc import Sequence

from rich.table import Table

from starter.local.parts import PartStatus


def stack_table(parts: Sequence[PartStatus]) -> Table:
    """Each part: real or stand-in, where, version, and what to do when it does not answer; no secrets."""
    table = Table(box=None, pad_edge=False)
    for name in ("part", "is", "at", "version", ""):
        table.add_column(name, overflow="fold")
    for part in parts:
        state = "ok" if part.healthy else part.fix
        table.add_row(part.name, part.kind, part.address, part.version, state)
    return table
