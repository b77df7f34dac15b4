"""Domains and jobs are vacuumed and analysed from ten thousand changes on, not from fifty

Who submits a million domains to a platform of sixty writes them in one transaction. VACUUM and ANALYZE, should they come
by meanwhile, see large tables with next to nothing in them, and write that down. Then one index is as good as another to
the planner, and the check of a job's domain reads all domains for each job: 10^12 rows, until the statement's time is
over. Of a table that nobody has looked at the planner judges by its size, and is right. When ten thousand rows stand
there the whole key is always the better one.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = ("domains", "jobs")
THRESHOLDS = ("autovacuum_analyze_threshold", "autovacuum_vacuum_threshold", "autovacuum_vacuum_insert_threshold")
CHANGES = 10_000


def upgrade() -> None:
    for table in TABLES:
        settings = ", ".join(f"{name} = {CHANGES}" for name in THRESHOLDS)
        op.execute(f"ALTER TABLE {table} SET ({settings})")


def downgrade() -> None:
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} RESET ({', '.join(THRESHOLDS)})")
