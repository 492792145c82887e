"""What an admin writes by plain SQL into plans and users is refused where no build could go by it."""

from alembic import op

revision = "0006"
down_revision = "0005"

LIMITS = ("concurrent_builds", "builds_a_day", "tool_calls")
NOT_BELOW_ZERO = " AND ".join(f"coalesce({name}, 0) >= 0" for name in ("cycle_budget", *LIMITS))
MODELS = """jsonb_typeof({0}) = 'object' AND NOT jsonb_path_exists({0}, '$.* ? (@.type() != "string")')"""
ALLOWED = """coalesce(jsonb_typeof(allowed_models) IN ('array', 'null')
    AND NOT jsonb_path_exists(allowed_models, '$[*] ? (@.type() != "string" && @.type() != "null")'), true)"""
MONEY = ", ".join(
    f"{name} = CASE WHEN {name} < 0 THEN 0 ELSE {name} END" for name in ("cycle_budget", *LIMITS)
)
CHECKS = (
    ("users", "money", NOT_BELOW_ZERO, MONEY),
    ("users", "models", MODELS.format("override_models"), "override_models = '{}'"),
    ("plan_tiers", "money", f"{NOT_BELOW_ZERO} AND weight >= 1", f"{MONEY}, weight = greatest(weight, 1)"),
    ("plan_tiers", "models", f"{MODELS.format('default_models')} AND {ALLOWED}",
     "default_models = '{}', allowed_models = NULL"),
)  # fmt: skip
"""Table, name, what must hold, and how a row is mended in which it does not."""


def upgrade() -> None:
    """Mend what is wrong already, then add the checks."""
    for table, name, condition, mend in CHECKS:
        op.execute(f"UPDATE {table} SET {mend} WHERE NOT ({condition})")  # noqa: S608 no outside text
        op.create_check_constraint(op.f(f"{table}_{name}_check"), table, condition)


def downgrade() -> None:
    """Refuse: schema changes only go forward."""
    raise NotImplementedError("Schema changes only go forward; restore a backup to go back.")
