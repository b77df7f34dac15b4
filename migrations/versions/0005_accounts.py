"""Tenants' own roles and limits, API keys, invitations, password resets, features, and the audit trail

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

CURRENT_TENANT = "(SELECT NULLIF(current_setting('app.tenant_id', true), '')::uuid)"
OWN = f"tenant_id = {CURRENT_TENANT}"
LIMITS = {
    "max_batch_domains": sa.Integer(),
    "max_open_jobs": sa.Integer(),
    "max_urls": sa.BigInteger(),
    "max_host_requests": sa.SmallInteger(),
}
NEW_TENANT_TABLES = ("api_keys", "audit_events", "invitations", "tenant_features")
NEW_TABLES = (*NEW_TENANT_TABLES, "password_resets")

APP_GRANTS = {
    "tenants": "UPDATE (name)",
    "users": "UPDATE (authz_version)",
    "roles": "INSERT, UPDATE (name, description), DELETE",
    "role_permissions": "INSERT, DELETE",
    "user_roles": "INSERT, DELETE",
    "api_keys": "SELECT, INSERT, UPDATE (revoked_at)",
    "invitations": "SELECT, INSERT, UPDATE (revoked_at)",
    "tenant_features": "SELECT",
    "audit_events": "SELECT, INSERT",
}
SYSTEM_GRANTS = {
    "tenants": "INSERT, UPDATE (name, status, weight, max_running, max_batch_domains, max_open_jobs, max_urls, "
    "max_host_requests)",
    "user_roles": "DELETE",
    "api_keys": "SELECT, UPDATE (last_used_at, revoked_at)",
    "invitations": "SELECT, UPDATE (accepted_at)",
    "password_resets": "SELECT, INSERT, UPDATE (used_at)",
    "tenant_features": "SELECT, INSERT, UPDATE (enabled), DELETE",
    "audit_events": "SELECT, INSERT",
}
OWN_ROLE = f"EXISTS (SELECT FROM roles r WHERE r.id = role_permissions.role_id AND r.{OWN})"
OF_THE_PLATFORM = "EXISTS (SELECT FROM permissions p WHERE p.id = role_permissions.permission_id AND starts_with(p.name, 'platform:'))"


def _lent(table: str) -> str:
    """Nobody inside a tenant makes or unmakes a platform administrator, nor lends another tenant's role."""
    mine = f"r.{OWN} OR (r.tenant_id IS NULL AND r.name <> 'platform_admin')"
    return f"EXISTS (SELECT FROM roles r WHERE r.id = {table}.role_id AND ({mine}))"


# What PostgreSQL gives every role that can connect.
FOR_ANYBODY = ("USAGE ON SCHEMA public", "EXECUTE ON ALL FUNCTIONS IN SCHEMA public")
# A tenant's sessions are listed and ended inside it; they are opened and prolonged before a tenant is known.
NEVER_NEEDED = "UPDATE (last_used_at, expires_at, refresh_hash) ON sessions"
# A tenant reads the built-in roles and writes its own. Policies that let in add up, so these take away.
RESTRICTIONS = {
    "roles": {"UPDATE": OWN, "DELETE": OWN},
    "role_permissions": {"INSERT": f"{OWN_ROLE} AND NOT {OF_THE_PLATFORM}", "DELETE": OWN_ROLE},
    "user_roles": {"INSERT": _lent("user_roles"), "DELETE": _lent("user_roles")},
    "invitations": {"INSERT": _lent("invitations")},
}


def upgrade() -> None:
    app_role, system_role = _quoted("app_role"), _quoted("system_role")
    _columns()
    _tables()
    for table in NEW_TENANT_TABLES:
        _wall(table)
        op.execute(f"CREATE POLICY tenant ON {table} TO {app_role} USING ({OWN}) WITH CHECK ({OWN})")
        op.execute(f"CREATE POLICY system ON {table} TO {system_role} USING (true) WITH CHECK (true)")
    _wall("password_resets")
    op.execute(f"CREATE POLICY system ON password_resets TO {system_role} USING (true) WITH CHECK (true)")
    op.execute(f"ALTER POLICY tenant ON roles USING (tenant_id IS NULL OR {OWN}) WITH CHECK ({OWN})")
    for table, restrictions in RESTRICTIONS.items():
        for command, condition in restrictions.items():
            op.execute(
                f"CREATE POLICY own_{command.lower()} ON {table} AS RESTRICTIVE FOR {command} TO {app_role} "
                f"{'WITH CHECK' if command == 'INSERT' else 'USING'} ({condition})"
            )
    for role, grants in ((app_role, APP_GRANTS), (system_role, SYSTEM_GRANTS)):
        for table, rights in grants.items():
            op.execute(f"GRANT {rights} ON {table} TO {role}")
    for what in FOR_ANYBODY:
        op.execute(f"REVOKE {what} FROM PUBLIC")
    op.execute(f"REVOKE {NEVER_NEEDED} FROM {app_role}")


def downgrade() -> None:
    app_role, system_role = _quoted("app_role"), _quoted("system_role")
    op.execute(f"GRANT {NEVER_NEEDED} TO {app_role}")
    for what in FOR_ANYBODY:
        op.execute(f"GRANT {what} TO PUBLIC")
    for role, grants in ((app_role, APP_GRANTS), (system_role, SYSTEM_GRANTS)):
        for table, rights in grants.items():
            if table not in NEW_TABLES:
                op.execute(f"REVOKE {_without_new_columns(rights)} ON {table} FROM {role}")
    for table, restrictions in RESTRICTIONS.items():
        for command in restrictions:
            op.execute(f"DROP POLICY own_{command.lower()} ON {table}")
    either = f"tenant_id IS NULL OR {OWN}"
    op.execute(f"ALTER POLICY tenant ON roles USING ({either}) WITH CHECK ({either})")
    for table in NEW_TABLES:
        op.drop_table(table)
    op.drop_index("ix_sessions_id", "sessions")
    op.drop_column("sessions", "reason")
    op.drop_column("roles", "description")
    for name in LIMITS:
        op.drop_column("tenants", name)
    op.drop_index("uq_tenants_name", "tenants")
    op.create_unique_constraint("uq_tenants_name", "tenants", ["name"])


def _columns() -> None:
    op.drop_constraint("uq_tenants_name", "tenants")
    op.create_index("uq_tenants_name", "tenants", [sa.text("lower(name)")], unique=True)
    for name, kind in LIMITS.items():
        op.add_column("tenants", sa.Column(name, kind, nullable=True))
        op.create_check_constraint(name, "tenants", f"{name} > 0")
    op.add_column("roles", sa.Column("description", sa.Text(), nullable=True))
    op.add_column("sessions", sa.Column("reason", sa.Text(), nullable=True))
    op.create_index("ix_sessions_id", "sessions", ["id"])


def _tables() -> None:
    op.create_table(
        "api_keys",
        *_key("tenants"),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key_hash", sa.LargeBinary(), nullable=False),
        sa.Column("permissions", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_by", sa.Uuid(), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        _moment("created_at", now=True),
        _moment("expires_at"),
        _moment("last_used_at", nullable=True),
        _moment("revoked_at", nullable=True),
    )
    op.create_index("ix_api_keys_id", "api_keys", ["id"])
    op.create_index("ix_api_keys_created_by", "api_keys", ["created_by"])
    op.create_table(
        "invitations",
        *_key("tenants"),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("role_id", sa.Integer(), sa.ForeignKey("roles.id", ondelete="CASCADE"), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        _moment("created_at", now=True),
        _moment("expires_at"),
        _moment("accepted_at", nullable=True),
        _moment("revoked_at", nullable=True),
    )
    op.create_index("ix_invitations_id", "invitations", ["id"])
    op.create_table(
        "password_resets",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), primary_key=True),
        sa.Column("user_id", sa.Uuid(), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        _moment("created_at", now=True),
        _moment("expires_at"),
        _moment("used_at", nullable=True),
    )
    op.create_index("ix_password_resets_user", "password_resets", ["user_id"])
    op.create_table(
        "tenant_features",
        sa.Column("tenant_id", sa.Uuid(), sa.ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("enabled", sa.Boolean(), nullable=False),
    )
    op.create_table(
        "audit_events",
        *_key(None),
        _moment("at", now=True),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("via", sa.Text(), nullable=False),
        sa.Column("via_id", sa.Uuid(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("object_type", sa.Text(), nullable=True),
        sa.Column("object_id", sa.Text(), nullable=True),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("before", postgresql.JSONB(none_as_null=True), nullable=True),
        sa.Column("after", postgresql.JSONB(none_as_null=True), nullable=True),
    )
    op.create_index("ix_audit_events_id", "audit_events", ["id"])


def _key(parent: str | None) -> list[sa.Column[object]]:
    reference = [sa.ForeignKey(f"{parent}.id", ondelete="CASCADE")] if parent else []
    return [
        sa.Column("tenant_id", sa.Uuid(), *reference, primary_key=True),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), primary_key=True),
    ]


def _moment(name: str, *, nullable: bool = False, now: bool = False) -> sa.Column[object]:
    default = sa.text("now()") if now else None
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=nullable)


def _wall(table: str) -> None:
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")


def _without_new_columns(rights: str) -> str:
    """Grants on columns go with the columns; what older columns got is taken back by name."""
    for name in (*LIMITS, "description"):
        rights = rights.replace(f", {name}", "")
    return rights


def _quoted(attribute: str) -> str:
    name = str(context.config.attributes[attribute])
    return '"' + name.replace('"', '""') + '"'
