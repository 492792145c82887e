"""A build's row tells which Temporal namespace runs it, so that no other server is asked about it."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the column; of the builds so far it is not known."""
    op.add_column("builds", sa.Column("namespace_id", sa.Text, nullable=False, server_default=sa.text("''")))


def downgrade() -> None:
    """Refuse: schema changes only go forward."""
    raise NotImplementedError("Schema changes only go forward; restore a backup to go back.")
