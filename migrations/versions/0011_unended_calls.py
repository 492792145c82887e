"""A restore point tells which calls of its reply it does not hold."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the column; those from before are taken to hold every call, as they were."""
    unended = sa.Column("unended", sa.BigInteger, nullable=False, server_default=sa.text("0"))
    op.add_column("restore_points", unended)


def downgrade() -> None:
    """Refuse: going back would forget which calls the files are older than."""
    raise NotImplementedError("Schema changes only go forward; restore a backup to go back.")
