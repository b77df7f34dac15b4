"""The second wall (row-level security, least grants), the count triggers, and the built-in roles

The roles' permissions are frozen here as first shipped; a test holds them against app/access.py, so a change there
needs a migration of its own.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TENANT_TABLES = (
    "batch_counts", "batch_jobs", "batch_rejects", "domains", "idempotency_keys", "jobs", "page_reads", "pages",
    "sessions", "sitemap_files", "sitemap_reads", "sitemap_urls", "user_roles",
)  # fmt: skip
CURRENT_TENANT = "(SELECT NULLIF(current_setting('app.tenant_id', true), '')::uuid)"

APP_GRANTS = {
    "tenants": "SELECT",
    "users": "SELECT (id, email, status, authz_version, created_at)",
    "roles": "SELECT",
    "permissions": "SELECT",
    "role_permissions": "SELECT",
    "user_roles": "SELECT",
    "sessions": "SELECT, UPDATE (last_used_at, expires_at, refresh_hash, revoked_at)",
    "domains": "SELECT, INSERT, UPDATE, DELETE",
    "batch_jobs": "SELECT, INSERT, UPDATE",
    "batch_counts": "SELECT, INSERT, DELETE",
    "batch_rejects": "SELECT, INSERT",
    "jobs": "SELECT, INSERT, UPDATE, DELETE",
    "sitemap_files": "SELECT, INSERT, UPDATE, DELETE",
    "sitemap_reads": "SELECT, INSERT, UPDATE, DELETE",
    "sitemap_urls": "SELECT, INSERT, UPDATE, DELETE",
    "pages": "SELECT, INSERT, UPDATE, DELETE",
    "page_reads": "SELECT, INSERT, UPDATE, DELETE",
    "idempotency_keys": "SELECT, INSERT, DELETE",
}

# What claims, heartbeats, reaping, folding and sign-in need, column by column, and nothing else.
JOB_KEYS = "tenant_id, id, number, batch_id, domain_id, created_at"
JOB_MOVES = (
    "status, dispatch_no, dispatch_until, available_at, waiting_on, lease_token, lease_until, worker, attempt, "
    "max_attempts, lost, error_code, error_detail, error_retryable, started_at, finished_at, updated_at"
)
SYSTEM_GRANTS = {
    "tenants": "SELECT",
    "permissions": "SELECT",
    "role_permissions": "SELECT",
    "roles": "SELECT",
    "users": "SELECT, INSERT, UPDATE (password_hash, status, authz_version)",
    "user_roles": "SELECT, INSERT",
    "sessions": "SELECT, INSERT, DELETE, UPDATE (last_used_at, expires_at, refresh_hash, revoked_at)",
    "domains": "SELECT (tenant_id, id, host, path)",
    "jobs": f"SELECT ({JOB_KEYS}, {JOB_MOVES}), UPDATE ({JOB_MOVES})",
    "batch_jobs": "SELECT (tenant_id, id, status, priority, total, created_at, started_at, finished_at), "
    "UPDATE (status, status_reason, started_at, finished_at)",
    "batch_counts": "SELECT, INSERT, DELETE",
    "idempotency_keys": "SELECT (created_at), DELETE",
}
SYSTEM_ROWS = ("batch_counts", "batch_jobs", "domains", "idempotency_keys", "jobs", "sessions", "user_roles")

VIEWER = ("tenant:read", "domain:read", "job:read", "result:read", "quota:read", "schedule:read")
OPERATOR = (
    *VIEWER,
    "domain:write", "job:run", "job:cancel", "job:schedule", "result:export", "webhook:read", "member:read",
    "role:read",
)  # fmt: skip
TENANT_ADMIN = (
    *OPERATOR,
    "domain:delete", "result:delete", "webhook:manage", "apikey:manage", "apikey:read", "member:manage", "role:manage",
    "tenant:update", "audit:read",
)  # fmt: skip
PLATFORM_ADMIN = (
    "platform:tenants", "platform:users", "platform:queue", "platform:quota", "platform:audit", "platform:features",
)  # fmt: skip
ROLES = {
    "viewer": VIEWER,
    "operator": OPERATOR,
    "tenant_admin": TENANT_ADMIN,
    "platform_admin": PLATFORM_ADMIN,
}

COUNTS = {
    # Net steps only: a heartbeat, which moves no status, writes nothing.
    "insert": (
        "REFERENCING NEW TABLE AS new_rows",
        "SELECT tenant_id, batch_id, status, 1 AS step FROM new_rows",
    ),
    "update": (
        "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
        "SELECT tenant_id, batch_id, status, 1 AS step FROM new_rows "
        "UNION ALL SELECT tenant_id, batch_id, status, -1 FROM old_rows",
    ),
    "delete": (
        "REFERENCING OLD TABLE AS old_rows",
        "SELECT tenant_id, batch_id, status, -1 AS step FROM old_rows",
    ),
}

# In place of a foreign key checked row by row, which costs a submission a third of its time: its two parents can be
# deleted by no runtime role, so it is enough to see, once a statement, that they are there.
REFERENCES = {
    "jobs": (
        "batch_jobs",
        "p.tenant_id = n.tenant_id AND p.id = n.batch_id",
        "tenant_id, batch_id",
        "batch_id IS NOT NULL",
    ),
    "domains": ("tenants", "p.id = n.tenant_id", "tenant_id", "true"),
}


def upgrade() -> None:
    app_role, system_role = _quoted("app_role"), _quoted("system_role")
    _seed()
    _count_triggers()
    _reference_triggers()
    _grants(app_role, APP_GRANTS)
    _grants(system_role, SYSTEM_GRANTS)
    _walls(app_role, system_role)


def downgrade() -> None:
    app_role, system_role = _quoted("app_role"), _quoted("system_role")
    for table in (*TENANT_TABLES, "tenants", "users", "roles", "role_permissions"):
        for policy in ("tenant", "system"):
            op.execute(f"DROP POLICY IF EXISTS {policy} ON {table}")
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    for role, grants in ((app_role, APP_GRANTS), (system_role, SYSTEM_GRANTS)):
        op.execute(f"REVOKE ALL ON {', '.join(grants)} FROM {role}")
        op.execute(f"REVOKE USAGE ON SCHEMA public FROM {role}")
    for event in COUNTS:
        op.execute(f"DROP TRIGGER count_{event} ON jobs")
        op.execute(f"DROP FUNCTION count_jobs_{event}()")
    for table, (parent, *_) in REFERENCES.items():
        op.execute(f"DROP TRIGGER check_{parent} ON {table}")
        op.execute(f"DROP FUNCTION check_{table}_{parent}()")
    op.execute("DELETE FROM role_permissions")
    op.execute("DELETE FROM user_roles")
    op.execute("DELETE FROM roles")
    op.execute("DELETE FROM permissions")
    op.execute(
        "DELETE FROM tenants t WHERE name = 'default' AND NOT EXISTS (SELECT FROM domains WHERE tenant_id = t.id)"
    )


def _quoted(attribute: str) -> str:
    name = str(context.config.attributes[attribute])
    return '"' + name.replace('"', '""') + '"'


def _seed() -> None:
    bind = op.get_bind()
    bind.execute(sa.text("INSERT INTO tenants (name) VALUES ('default') ON CONFLICT DO NOTHING"))
    names = sorted({name for names in ROLES.values() for name in names})
    bind.execute(sa.text("INSERT INTO permissions (name) SELECT unnest(CAST(:names AS text[]))"), {"names": names})
    for role, permissions in ROLES.items():
        bind.execute(sa.text("INSERT INTO roles (name) VALUES (:role)"), {"role": role})
        bind.execute(
            sa.text(
                "INSERT INTO role_permissions SELECT r.id, p.id FROM roles r, permissions p "
                "WHERE r.name = :role AND r.tenant_id IS NULL AND p.name = ANY(CAST(:names AS text[]))"
            ),
            {"role": role, "names": list(permissions)},
        )


def _count_triggers() -> None:
    for event, (transition, steps) in COUNTS.items():
        op.execute(f"""
            CREATE FUNCTION count_jobs_{event}() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                INSERT INTO batch_counts (tenant_id, batch_id, status, n)
                SELECT tenant_id, batch_id, status, sum(step) FROM ({steps}) steps
                WHERE batch_id IS NOT NULL
                GROUP BY tenant_id, batch_id, status HAVING sum(step) <> 0
                ORDER BY tenant_id, batch_id, status;
                RETURN NULL;
            END $$""")
        op.execute(
            f"CREATE TRIGGER count_{event} AFTER {event.upper()} ON jobs {transition} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION count_jobs_{event}()"
        )


def _reference_triggers() -> None:
    for table, (parent, match, columns, which) in REFERENCES.items():
        op.execute(f"""
            CREATE FUNCTION check_{table}_{parent}() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF EXISTS (SELECT FROM (SELECT DISTINCT {columns} FROM new_rows WHERE {which}) n
                           WHERE NOT EXISTS (SELECT FROM {parent} p WHERE {match})) THEN
                    RAISE foreign_key_violation USING MESSAGE = 'a row of {table} names no row of {parent}';
                END IF;
                RETURN NULL;
            END $$""")
        op.execute(
            f"CREATE TRIGGER check_{parent} AFTER INSERT ON {table} REFERENCING NEW TABLE AS new_rows "
            f"FOR EACH STATEMENT EXECUTE FUNCTION check_{table}_{parent}()"
        )


def _grants(role: str, grants: dict[str, str]) -> None:
    op.execute(f"GRANT USAGE ON SCHEMA public TO {role}")
    op.execute(f"GRANT SELECT ON alembic_version TO {role}")
    for table, rights in grants.items():
        op.execute(f"GRANT {rights} ON {table} TO {role}")


def _walls(app_role: str, system_role: str) -> None:
    own_row = f"tenant_id = {CURRENT_TENANT}"
    for table in TENANT_TABLES:
        _wall(table, app_role, own_row)
    _wall("tenants", app_role, f"id = {CURRENT_TENANT}")
    _wall("users", app_role, "EXISTS (SELECT FROM user_roles m WHERE m.user_id = users.id)")
    _wall("roles", app_role, f"tenant_id IS NULL OR {own_row}")
    _wall("role_permissions", app_role, "EXISTS (SELECT FROM roles r WHERE r.id = role_permissions.role_id)")
    for table in (*SYSTEM_ROWS, "tenants", "users", "roles", "role_permissions"):
        op.execute(f"CREATE POLICY system ON {table} TO {system_role} USING (true) WITH CHECK (true)")


def _wall(table: str, role: str, condition: str) -> None:
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY tenant ON {table} TO {role} USING ({condition}) WITH CHECK ({condition})")
