"""Plans and users limit builds at once, builds a day and tool calls; money is added once by its key."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

LIMITS = ("concurrent_builds", "builds_a_day", "tool_calls")
TIERS = {"bootstrapper": (2, 20, 1_000), "partner": (5, 50, 3_000), "cto_scale": (20, 200, 10_000)}
LOCAL = (10_000, 100_000, 100_000)
"""Of the user of a local installation, who is held by their own machine."""


def upgrade() -> None:
    """Add the columns, then fill them in for the plans that there are."""
    for name, smallest in zip(LIMITS, TIERS["bootstrapper"], strict=True):
        default = sa.text(str(smallest))
        op.add_column("plan_tiers", sa.Column(name, sa.BigInteger, nullable=False, server_default=default))
        op.add_column("users", sa.Column(name, sa.BigInteger, nullable=True, comment="null: the tier's"))
    for slug, limits in TIERS.items():
        _set("plan_tiers", "slug", slug, limits)
    _set("users", "id", "local", LOCAL)
    op.create_table(
        "top_ups",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("user_id", sa.Text, sa.ForeignKey("users.id"), nullable=False),
        sa.Column("day", sa.Date, nullable=False, comment="local day of the user"),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )


def _set(table: str, key: str, value: str, limits: tuple[int, ...]) -> None:
    columns = [sa.column(name) for name in (key, *LIMITS)]
    named = sa.table(table, *columns)
    op.execute(named.update().where(named.c[key] == value).values(dict(zip(LIMITS, limits, strict=True))))


def downgrade() -> None:
    """Refuse: going back would forget what was paid in."""
    raise NotImplementedError("Schema changes only go forward; restore a backup to go back.")
