"""A tool call's result keeps what the workflow is told of it beside the text."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the column; of a result from before, another attempt tells no more than it did."""
    op.add_column(
        "tool_results",
        sa.Column("effects", sa.Text, nullable=False, server_default=sa.text("'{}'"), comment="JSON text"),
    )


def downgrade() -> None:
    """Refuse: going back would forget which calls were interrupted."""
    raise NotImplementedError("Schema changes only go forward; restore a backup to go back.")
