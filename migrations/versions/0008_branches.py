"""Builds fork and rewind, restore points tell their phase, and what the bucket holds is noted."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

MANIFESTS = "INSERT INTO stored_objects (key) SELECT key FROM restore_points"
PACKS = """INSERT INTO stored_objects (key, pack)
SELECT DISTINCT 'packs/' || sha256 || '/data', sha256 FROM restore_point_packs"""


def upgrade() -> None:
    """Add the columns and the table; what restore points name so far is noted as of now."""
    op.add_column("builds", sa.Column("forked_from", sa.Text, nullable=True, comment="a build's id"))
    op.add_column("builds", sa.Column("spend_limit", sa.BigInteger, nullable=True, comment="null: none"))
    for name in ("first_turn", "inherited"):
        op.add_column("builds", sa.Column(name, sa.BigInteger, nullable=False, server_default=sa.text("0")))
    op.add_column("restore_points", sa.Column("phase", sa.Text, nullable=False, server_default=sa.text("''")))
    left = sa.Column("left_behind", sa.Boolean, nullable=False, server_default=sa.false())
    op.add_column("restore_points", left)
    op.add_column("restore_points", sa.Column("note", sa.Text, nullable=False, server_default=sa.text("''")))
    op.create_table(
        "stored_objects",
        sa.Column("key", sa.Text, primary_key=True, comment="in the bucket"),
        sa.Column("pack", sa.Text, nullable=True, comment="its digest; null: a manifest"),
        sa.Column("noted_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Index("stored_objects_noted_at_idx", "noted_at"),
    )
    op.execute(MANIFESTS)
    op.execute(PACKS)


def downgrade() -> None:
    """Refuse: going back would forget whose files a build goes on from."""
    raise NotImplementedError("Schema changes only go forward; restore a backup to go back.")
