"""Shares and caps of tenants; where a job's newest message went, and how much of its own time it has used

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

MOVES = "queue"  # what the system role may see and set besides what 0002 grants


def upgrade() -> None:
    # Constant defaults: no row is rewritten, however many there are.
    op.add_column("tenants", sa.Column("weight", sa.SmallInteger(), server_default="1", nullable=False))
    op.add_column("tenants", sa.Column("max_running", sa.Integer(), nullable=True))
    op.create_check_constraint("weight", "tenants", "weight BETWEEN 1 AND 100")
    op.create_check_constraint("max_running", "tenants", "max_running > 0")
    op.add_column("jobs", sa.Column("queue", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("spent_seconds", sa.REAL(), server_default="0", nullable=False))
    op.create_index(
        "ix_jobs_quarantined",
        "jobs",
        ["tenant_id", "id"],
        postgresql_where=sa.text("status = 'pending' AND lost >= 2"),
    )
    op.execute(f"GRANT SELECT ({MOVES}), UPDATE ({MOVES}) ON jobs TO {_system_role()}")


def downgrade() -> None:
    op.drop_index("ix_jobs_quarantined", "jobs")
    op.drop_column("jobs", "spent_seconds")
    op.drop_column("jobs", "queue")
    op.drop_column("tenants", "max_running")
    op.drop_column("tenants", "weight")


def _system_role() -> str:
    name = str(context.config.attributes["system_role"])
    return '"' + name.replace('"', '""') + '"'
