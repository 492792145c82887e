"""The first schema, the plan tiers, and the user of a local installation."""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None

STATEMENT_END = ";\n\n"


def upgrade() -> None:
    """Run the statements one by one: asyncpg takes no more than one at a time."""
    for statement in Path(__file__).with_suffix(".sql").read_text().split(STATEMENT_END):
        op.get_bind().exec_driver_sql(statement.strip().removesuffix(";"))


def downgrade() -> None:
    """Refuse: going back would drop every transcript and ledger row."""
    raise NotImplementedError("Schema changes only go forward; restore a backup to go back.")
