"""The planner is told nothing of single tenants, so that it always uses whole keys

Keys begin with the tenant. Of one that was not there when a table was last analysed the planner believes that it has one
row, and where it has to look up one of that tenant's million rows it reads them all: the tenant alone, it thinks, is as
good as the whole key. Without statistics of that column it takes every tenant for a two-hundredth of the table.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = (
    "batch_counts", "batch_jobs", "batch_rejects", "domains", "jobs", "page_reads", "pages", "sitemap_files",
    "sitemap_reads", "sitemap_urls",
)  # fmt: skip


def upgrade() -> None:
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} ALTER COLUMN tenant_id SET STATISTICS 0")
        op.execute(f"SELECT pg_clear_attribute_stats('public', '{table}', 'tenant_id', false)")


def downgrade() -> None:
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} ALTER COLUMN tenant_id SET STATISTICS DEFAULT")
