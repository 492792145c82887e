"""A database has an id of its own, by which the sandboxes that its rows asked for are known."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Mint the id; there is one row, and nobody writes it again."""
    op.create_table(
        "installation",
        sa.Column("is_this", sa.Boolean, primary_key=True, server_default=sa.true()),
        sa.Column("id", sa.Text, nullable=False, comment="random; in the metadata of our sandboxes"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    op.create_check_constraint(op.f("installation_is_this_check"), "installation", "is_this")
    op.execute("INSERT INTO installation (id) VALUES (gen_random_uuid()::text) ON CONFLICT DO NOTHING")


def downgrade() -> None:
    """Refuse: going back would forget which sandboxes are ours."""
    raise NotImplementedError("Schema changes only go forward; restore a backup to go back.")
