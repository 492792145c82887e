"""The ledger tells apart what was written to the cache for an hour: it is priced higher."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; every row so far wrote for five minutes."""
    op.add_column(
        "ledger",
        sa.Column("cache_write_1h_tokens", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    )


def downgrade() -> None:
    """Refuse: going back would forget what calls wrote."""
    raise NotImplementedError("Schema changes only go forward; restore a backup to go back.")
