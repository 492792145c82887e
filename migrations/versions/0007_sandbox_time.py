"""The ledger holds sandbox time too; a sandbox's row says until when its time is booked."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Let a row of the ledger be for a model call, for time that was used, or for time ahead."""
    for name in ("billed_until", "runs_until"):
        op.add_column("sandboxes", sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    kind = sa.Column("kind", sa.Text, nullable=False, server_default=sa.text("'model'"))
    op.add_column("ledger", kind)
    op.add_column(
        "ledger", sa.Column("microseconds", sa.BigInteger, nullable=False, server_default=sa.text("0"))
    )
    op.alter_column("ledger", "message_id", nullable=True)
    op.create_check_constraint("kind", "ledger", "kind IN ('model', 'sandbox', 'ahead')")
    op.create_check_constraint("message", "ledger", "kind <> 'model' OR message_id IS NOT NULL")
    op.drop_index("ledger_open", "ledger")
    _only_one("ledger_open", "build_id", where="state = 'reserved' AND kind = 'model'")
    _only_one("ledger_time", "build_id", "day", "phase", "price_id", where="kind = 'sandbox'")
    _only_one("ledger_ahead", "build_id", where="kind = 'ahead'")


def _only_one(name: str, *columns: str, where: str) -> None:
    op.create_index(name, "ledger", columns, unique=True, postgresql_where=sa.text(where))


def downgrade() -> None:
    """Refuse: going back would forget what sandboxes cost."""
    raise NotImplementedError("Schema changes only go forward; restore a backup to go back.")
