"""The metadata of all tables and the kinds of column that they share."""

import sqlalchemy as sa

NAMES = {
    "pk": "%(table_name)s_pkey",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    "ck": "%(table_name)s_%(constraint_name)s_check",
}
metadata = sa.MetaData(naming_convention=NAMES)


def number() -> sa.Column[int]:
    """A row's own number."""
    return sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True)


def owned_by(table: str) -> sa.ForeignKey:
    """A key into another table; rows go with their owner."""
    return sa.ForeignKey(f"{table}.id", ondelete="CASCADE")


def moment(name: str = "created_at") -> sa.Column[object]:
    """When, as the database saw it."""
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())


def count(name: str, default: int = 0) -> sa.Column[int]:
    """A whole number: microdollars, tokens, bytes."""
    return sa.Column(name, sa.BigInteger, nullable=False, server_default=sa.text(str(default)))


def only_one(name: str, *columns: str, where: str) -> sa.Index:
    """Allow one row of this kind."""
    return sa.Index(name, *columns, unique=True, postgresql_where=sa.text(where))


def words(name: str) -> sa.Column[str]:
    """A text that may be empty."""
    return sa.Column(name, sa.Text, nullable=False, server_default=sa.text("''"))
