"""Chains: the rows whose manifests together hold a restore point's state. Knows Postgres only.

A chain goes down to a full manifest, or through as many deltas as hold every slice. A row may be kept for
those above it alone, while its own chain is not all there any more: then it is no restore point to go to.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import CTE, ColumnElement, FromClause, Select, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from activities.manifests import SLICES
from activities.tables import restore_points


class Link(NamedTuple):
    """One manifest of a chain."""

    restore_point: int
    key: str
    kind: str


async def chain_of(connection: AsyncConnection, restore_point: int) -> list[Link]:
    """Give what there is of a chain, the oldest first; nothing where there is no such restore point."""
    chain = _below(restore_points.c.id == restore_point)
    table = restore_points
    rows = select(table.c.id, table.c.key, table.c.kind).join(chain, chain.c.id == table.c.id)
    return [Link(*row) for row in await connection.execute(rows.order_by(chain.c.place.desc()))]


def is_whole(chain: Sequence[Link]) -> bool:
    """Tell whether a chain holds the whole state."""
    return bool(chain) and (chain[0].kind == "full" or len(chain) == SLICES)


async def hold_chain(connection: AsyncConnection, restore_point: int) -> bool:
    """Keep a whole chain from being pruned until the caller's transaction ends; tells whether it is whole."""
    chain = await chain_of(connection, restore_point)
    ids = [link.restore_point for link in chain]
    rows = select(restore_points.c.id).where(restore_points.c.id.in_(ids)).order_by(restore_points.c.id)
    held = await connection.execute(rows.with_for_update(key_share=True, read=True))
    return is_whole(chain) and len(held.all()) == len(ids)


def whole_points(which: ColumnElement[bool]) -> Select[Any]:
    """Give the ids of those rows whose chain is whole."""
    chain = _below(which)
    return select(chain.c.top).where((chain.c.kind == "full") | (chain.c.place == SLICES))


def with_chains(which: ColumnElement[bool], source: FromClause) -> Select[Any]:
    """Give the ids of those rows of a query over restore points, and of all that their chains go through."""
    return select(_below(which, source).c.id)


def _below(which: ColumnElement[bool], source: FromClause = restore_points) -> CTE:
    """Go down from certain rows: `top` is the row that a chain is of, `place` counts its links from 1."""
    top, below = source, restore_points.alias("below")
    first = select(
        top.c.id.label("top"), top.c.id, top.c.parent_id, top.c.kind, literal(1).label("place")
    ).where(which)
    chain = first.cte("chain", recursive=True)
    links = select(chain.c.top, below.c.id, below.c.parent_id, below.c.kind, chain.c.place + 1)
    return chain.union_all(
        links.join(chain, below.c.id == chain.c.parent_id).where(
            chain.c.kind == "delta", chain.c.place < SLICES
        )
    )
