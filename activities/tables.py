"""The tables, as the queries see them. The migrations make them; a test holds the two together.

The conversation is JSON text, never JSONB: the order of keys is part of it.
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from activities.columns import count, metadata, moment, number, only_one, owned_by, words

projects = sa.Table(
    "projects",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.id"), nullable=False),
    moment(),
)

artifacts = sa.Table(
    "artifacts",
    metadata,
    number(),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("content", JSONB, nullable=False),
    moment("updated_at"),
    sa.UniqueConstraint("project", "type"),
)

understanding_sessions = sa.Table(
    "understanding_sessions",
    metadata,
    number(),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("questions", JSONB, nullable=False, comment="list of {id, text}"),
    sa.Column("answers", JSONB, nullable=False, comment="id → text"),
    moment(),
    sa.Index(None, "project"),
)

builds = sa.Table(
    "builds",
    metadata,
    sa.Column("id", sa.Text, primary_key=True, comment="run id of the run that prepared it"),
    sa.Column("workflow_id", sa.Text, nullable=False),
    sa.Column("project", sa.Text, sa.ForeignKey("projects.id"), nullable=False),
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.id"), nullable=False),
    sa.Column("number", sa.Integer, nullable=False, comment="N of build_v0_N"),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("plan", JSONB, nullable=False, server_default=sa.text("'{}'")),
    sa.Column("head", sa.BigInteger, nullable=False, comment="transcript row of the first message"),
    sa.Column("restore_point", sa.BigInteger, nullable=True, comment="where it began, then its last"),
    sa.Column("status", sa.Text, nullable=False, server_default=sa.text("'starting'")),
    words("phase"),
    words("outcome"),
    words("message"),
    words("debug_id"),
    words("sandbox_id"),
    words("preview_url"),
    words("workspace"),
    words("start_command"),
    words("namespace_id"),
    count("spent"),
    sa.Column("spend_limit", sa.BigInteger, nullable=True, comment="null: none"),
    sa.Column("forked_from", sa.Text, nullable=True, comment="a build's id"),
    count("first_turn"),
    count("inherited"),
    sa.Column("wake_at", sa.DateTime(timezone=True), nullable=True),
    moment("started_at"),
    moment("changed_at"),
    sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
    only_one("builds_live_number", "project", "number", where="status <> 'failed'"),
    sa.Index(None, "workflow_id"),
    sa.Index(None, "user_id", "status"),
)

transcript = sa.Table(
    "transcript",
    metadata,
    number(),
    sa.Column("build_id", sa.Text, nullable=False),
    sa.Column("parent_id", sa.BigInteger, sa.ForeignKey("transcript.id"), nullable=True),
    sa.Column("role", sa.Text, nullable=False, comment="system (starts an epoch), user, assistant"),
    sa.Column("body", sa.Text, nullable=False, comment="JSON text, sent exactly as it is"),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False, server_default=sa.text("0")),
    moment(),
    sa.UniqueConstraint("build_id", "parent_id", "digest", postgresql_nulls_not_distinct=True),
    sa.Index(None, "parent_id"),
)

tool_starts = sa.Table(
    "tool_starts",
    metadata,
    sa.Column("head_id", sa.BigInteger, sa.ForeignKey("transcript.id"), primary_key=True),
    sa.Column("tool_use_id", sa.Text, primary_key=True),
    sa.Column("generation", sa.Integer, nullable=False),
    moment("started_at"),
)

tool_results = sa.Table(
    "tool_results",
    metadata,
    number(),
    sa.Column("head_id", sa.BigInteger, sa.ForeignKey("transcript.id"), nullable=False),
    sa.Column("tool_use_id", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False, comment="JSON text of a whole tool_result block"),
    words("preview"),
    sa.Column("effects", sa.Text, nullable=False, server_default=sa.text("'{}'"), comment="JSON text"),
    sa.Column("is_error", sa.Boolean, nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    moment(),
    sa.UniqueConstraint("head_id", "tool_use_id"),
)

restore_points = sa.Table(
    "restore_points",
    metadata,
    number(),
    sa.Column("build_id", sa.Text, nullable=False),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("parent_id", sa.BigInteger, nullable=True),
    sa.Column("number", sa.Integer, nullable=False, comment="of the capture, in its generation"),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("key", sa.Text, nullable=False, unique=True, comment="manifest in the bucket"),
    sa.Column("kind", sa.Text, nullable=False, comment="full, delta"),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("turn", sa.Integer, nullable=False),
    sa.Column("head_id", sa.BigInteger, nullable=True, comment="transcript row that the files belong to"),
    count("unended"),
    words("phase"),
    words("note"),
    sa.Column("left_behind", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("held", sa.Boolean, nullable=False, server_default=sa.false()),
    count("files"),
    count("changed"),
    count("bytes"),
    sa.Column("omitted", JSONB, nullable=False, server_default=sa.text("'[]'")),
    moment(),
    sa.UniqueConstraint("build_id", "generation", "number"),
    sa.Index(None, "project", "id"),
    sa.Index(None, "build_id", "id"),
)

restore_point_packs = sa.Table(
    "restore_point_packs",
    metadata,
    sa.Column("restore_point", sa.BigInteger, owned_by("restore_points"), primary_key=True),
    sa.Column("sha256", sa.Text, primary_key=True),
    count("bytes"),
    sa.Index(None, "sha256"),
)

stored_objects = sa.Table(
    "stored_objects",
    metadata,
    sa.Column("key", sa.Text, primary_key=True, comment="in the bucket"),
    sa.Column("pack", sa.Text, nullable=True, comment="its digest; null: a manifest"),
    moment("noted_at"),
    sa.Index(None, "noted_at"),
)

installation = sa.Table(
    "installation",
    metadata,
    sa.Column("is_this", sa.Boolean, primary_key=True, server_default=sa.true()),
    sa.Column("id", sa.Text, nullable=False, comment="random; in the metadata of our sandboxes"),
    moment(),
)

sandboxes = sa.Table(
    "sandboxes",
    metadata,
    sa.Column("build_id", sa.Text, primary_key=True),
    sa.Column("role", sa.Text, primary_key=True, comment="build, check"),
    sa.Column("generation", sa.Integer, primary_key=True),
    words("sandbox_id"),
    sa.Column("state", sa.Text, nullable=False, comment="creating, live, paused, doomed, gone"),
    sa.Column("details", JSONB, nullable=False, server_default=sa.text("'{}'")),
    moment(),
    moment("changed_at"),
    sa.Column("billed_until", sa.DateTime(timezone=True), nullable=True),
    sa.Column("runs_until", sa.DateTime(timezone=True), nullable=True),
    sa.Index(None, "state"),
)

documents = sa.Table(
    "documents",
    metadata,
    sa.Column("build_id", sa.Text, primary_key=True),
    sa.Column("section", sa.Text, primary_key=True),
    sa.Column("content", sa.Text, nullable=False),
    moment("updated_at"),
)

phases = sa.Table(
    "phases",
    metadata,
    number(),
    sa.Column("build_id", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    moment("started_at"),
    sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
    sa.UniqueConstraint("build_id", "name"),
)

escalations = sa.Table(
    "escalations",
    metadata,
    number(),
    sa.Column("build_id", sa.Text, nullable=False),
    sa.Column("signature", sa.Text, nullable=False),
    sa.Column("problem", sa.Text, nullable=False),
    sa.Column("options", JSONB, nullable=False, server_default=sa.text("'[]'")),
    sa.Column("status", sa.Text, nullable=False, server_default=sa.text("'pending'")),
    words("choice"),
    words("guidance"),
    moment(),
    sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
    sa.Index(None, "build_id", "status"),
)
