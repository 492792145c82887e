"""The ledger tells at which turn and attempt, and for which phase and plan item, a call was made."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the columns; of the rows so far none of this is known."""
    for name in ("turn", "attempt"):
        op.add_column("ledger", sa.Column(name, sa.BigInteger, nullable=False, server_default=sa.text("0")))
    for name in ("phase", "plan_item"):
        op.add_column("ledger", sa.Column(name, sa.Text, nullable=False, server_default=sa.text("''")))


def downgrade() -> None:
    """Refuse: going back would forget what calls were for."""
    raise NotImplementedError("Schema changes only go forward; restore a backup to go back.")
