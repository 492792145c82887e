"""The tables of plans, users, switches and money, as the queries see them. Money is integer microdollars."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from activities.columns import count, metadata, moment, number, only_one, words

LIMITS = ("concurrent_builds", "builds_a_day", "tool_calls")
"""What a plan limits beside money; a user may have values of their own."""
MODEL, SANDBOX, AHEAD = "model", "sandbox", "ahead"
"""Kinds of rows of the ledger: a call, sandbox time that was used, sandbox time set aside."""

plan_tiers = sa.Table(
    "plan_tiers",
    metadata,
    sa.Column("slug", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    count("cycle_budget"),
    sa.Column("default_models", JSONB, nullable=False, server_default=sa.text("'{}'")),
    sa.Column("allowed_models", JSONB, nullable=True, comment="null: every model that has a price"),
    count("weight", 1),
    count("concurrent_builds", 2),
    count("builds_a_day", 20),
    count("tool_calls", 1_000),
)

users = sa.Table(
    "users",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("tier", sa.Text, sa.ForeignKey("plan_tiers.slug"), nullable=False),
    sa.Column("timezone", sa.Text, nullable=False, server_default=sa.text("'UTC'")),
    sa.Column("renews_on", sa.Date, nullable=True, comment="null: the first of each month"),
    sa.Column("cycle_budget", sa.BigInteger, nullable=True, comment="null: the tier's"),
    sa.Column("override_models", JSONB, nullable=False, server_default=sa.text("'{}'")),
    sa.Column("suspended", sa.Boolean, nullable=False, server_default=sa.text("false")),
    moment(),
    *(sa.Column(name, sa.BigInteger, nullable=True, comment="null: the tier's") for name in LIMITS),
)

switches = sa.Table(
    "switches",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("on", sa.Boolean, nullable=False),
    moment("changed_at"),
)

days = sa.Table(
    "days",
    metadata,
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.id"), primary_key=True),
    sa.Column("day", sa.Date, primary_key=True, comment="local day of the user"),
    count("allowance"),
    count("added"),
    moment("opened_at"),
    sa.CheckConstraint("allowance >= 0 AND allowance + added >= 0", name="money"),
)

top_ups = sa.Table(
    "top_ups",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.id"), nullable=False),
    sa.Column("day", sa.Date, nullable=False, comment="local day of the user"),
    sa.Column("amount", sa.BigInteger, nullable=False),
    moment("made_at"),
)

ledger = sa.Table(
    "ledger",
    metadata,
    number(),
    sa.Column("build_id", sa.Text, nullable=False),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("day", sa.Date, nullable=False),
    sa.Column("message_id", sa.BigInteger, sa.ForeignKey("transcript.id"), nullable=True),
    sa.Column("reply_id", sa.BigInteger, sa.ForeignKey("transcript.id"), nullable=True),
    sa.Column("state", sa.Text, nullable=False, comment="reserved, settled, lost, released"),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("price_id", sa.Text, nullable=False),
    sa.Column("reserved", sa.BigInteger, nullable=False),
    count("cost"),
    count("max_tokens"),
    count("input_tokens"),
    count("cache_read_tokens"),
    count("cache_write_tokens"),
    count("cache_write_1h_tokens"),
    count("output_tokens"),
    words("stop_reason"),
    words("request_id"),
    words("note"),
    count("turn"),
    count("attempt"),
    words("phase"),
    words("plan_item"),
    moment("opened_at"),
    sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
    sa.Column("kind", sa.Text, nullable=False, server_default=sa.text("'model'")),
    count("microseconds"),
    sa.CheckConstraint("kind IN ('model', 'sandbox', 'ahead')", name="kind"),
    sa.CheckConstraint("kind <> 'model' OR message_id IS NOT NULL", name="message"),
    sa.CheckConstraint("state IN ('reserved', 'settled', 'lost', 'released')", name="state"),
    sa.CheckConstraint("reserved >= 0 AND cost >= 0", name="money"),
    sa.Index(None, "user_id", "day"),
    sa.Index(None, "build_id", "state"),
    only_one("ledger_reply", "reply_id", where="reply_id IS NOT NULL"),
    only_one("ledger_open", "build_id", where="state = 'reserved' AND kind = 'model'"),
    only_one("ledger_bought", "message_id", where="state = 'settled'"),
    only_one("ledger_time", "build_id", "day", "phase", "price_id", where="kind = 'sandbox'"),
    only_one("ledger_ahead", "build_id", where="kind = 'ahead'"),
)
