"""The parts of the stack as a person reads them."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from starter.local.parts import PartStatus


def stack_table(parts: Sequence[PartStatus]) -> Table:
    """Each part: real or stand-in, where, version, and what to do when it does not answer; no secrets."""
    table = Table(box=None, pad_edge=False)
    for name in ("part", "is", "at", "version", ""):
        table.add_column(name, overflow="fold")
    for part in parts:
        state = "ok" if part.healthy else "; ".join(filter(None, (part.reason, part.fix)))
        # As text: what a person set may hold brackets, which would be read as markup.
        table.add_row(*(Text(cell) for cell in (part.name, part.kind, part.address, part.version, state)))
    return table
