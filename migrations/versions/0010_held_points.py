"""A restore point that someone asked to go back to is never pruned."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the column; what a build was to go back to before is what its row names, until it ends."""
    held = sa.Column("held", sa.Boolean, nullable=False, server_default=sa.false())
    op.add_column("restore_points", held)


def downgrade() -> None:
    """Refuse: going back would forget what a build may still go back to."""
    raise NotImplementedError("Schema changes only go forward; restore a backup to go back.")
