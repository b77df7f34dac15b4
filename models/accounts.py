"""Tenants, the people in them, and what they may do."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    SmallInteger,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Now, RowId, TenantId


class Tenant(Base):
    __tablename__ = "tenants"
    __table_args__ = (
        Index("uq_tenants_name", text("lower(name)"), unique=True),
        CheckConstraint("status IN ('active', 'suspended')", name="status"),
        CheckConstraint("weight BETWEEN 1 AND 100", name="weight"),
        CheckConstraint("max_running > 0", name="max_running"),
        CheckConstraint("max_batch_domains > 0", name="max_batch_domains"),
        CheckConstraint("max_open_jobs > 0", name="max_open_jobs"),
        CheckConstraint("max_urls > 0", name="max_urls"),
        CheckConstraint("max_host_requests > 0", name="max_host_requests"),
    )

    id: Mapped[RowId]
    name: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="active")
    weight: Mapped[int] = mapped_column(SmallInteger, server_default="1")  # its share of the workers, against others'
    # Limits; none = the installation's own.
    max_running: Mapped[int | None]  # jobs handed out at a time
    max_batch_domains: Mapped[int | None]  # lines of one batch
    max_open_jobs: Mapped[int | None]  # jobs that have not ended
    max_urls: Mapped[int | None] = mapped_column(BigInteger)  # URLs kept
    max_host_requests: Mapped[int | None] = mapped_column(SmallInteger)  # requests at a time to one host
    created_at: Mapped[Now]


class User(Base):
    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("status IN ('active', 'disabled')", name="status"),
        Index("uq_users_email", text("lower(email)"), unique=True),
    )

    id: Mapped[RowId]
    email: Mapped[str]
    password_hash: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="active")
    authz_version: Mapped[int] = mapped_column(server_default="1")
    created_at: Mapped[Now]


class Permission(Base):
    __tablename__ = "permissions"

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)


class Role(Base):
    """Built in (no tenant) or a tenant's own."""

    __tablename__ = "roles"
    __table_args__ = (UniqueConstraint("tenant_id", "name", postgresql_nulls_not_distinct=True),)

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    tenant_id: Mapped[UUID | None] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    name: Mapped[str]
    description: Mapped[str | None]
    created_at: Mapped[Now]


class RolePermission(Base):
    __tablename__ = "role_permissions"

    role_id: Mapped[int] = mapped_column(ForeignKey("roles.id", ondelete="CASCADE"), primary_key=True)
    permission_id: Mapped[int] = mapped_column(ForeignKey("permissions.id"), primary_key=True)


class UserRole(Base):
    """A membership: this user holds this role in this tenant."""

    __tablename__ = "user_roles"
    __table_args__ = (Index("ix_user_roles_user", "user_id"),)

    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    role_id: Mapped[int] = mapped_column(ForeignKey("roles.id", ondelete="CASCADE"), primary_key=True)
    created_at: Mapped[Now]


class Session(Base):
    """One sign-in. The refresh token rotates; only the hash of the newest is kept.

    With a reason it is break-glass: a platform administrator looks into a tenant she is no member of, reads only, and
    only until `expires_at`.
    """

    __tablename__ = "sessions"
    __table_args__ = (Index("ix_sessions_user", "user_id"), Index("ix_sessions_id", "id"))

    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True)
    id: Mapped[RowId]
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    refresh_hash: Mapped[bytes]
    created_at: Mapped[Now]
    last_used_at: Mapped[Now]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    user_agent: Mapped[str | None]
    address: Mapped[str | None]
    reason: Mapped[str | None]


class ApiKey(Base):
    """A credential for programs. It may what both its list and its creator's roles allow, as they are now."""

    __tablename__ = "api_keys"
    __table_args__ = (Index("ix_api_keys_id", "id"), Index("ix_api_keys_created_by", "created_by"))

    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True)
    id: Mapped[RowId]
    name: Mapped[str]
    key_hash: Mapped[bytes]
    permissions: Mapped[list[str]] = mapped_column(ARRAY(Text))
    created_by: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    created_at: Mapped[Now]
    expires_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class Invitation(Base):
    """Somebody is asked in, by e-mail address; whoever has the token and that address becomes a member, once."""

    __tablename__ = "invitations"
    __table_args__ = (Index("ix_invitations_id", "id"),)

    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True)
    id: Mapped[RowId]
    email: Mapped[str]
    role_id: Mapped[int] = mapped_column(ForeignKey("roles.id", ondelete="CASCADE"))
    token_hash: Mapped[bytes]
    created_by: Mapped[UUID | None]
    created_at: Mapped[Now]
    expires_at: Mapped[datetime]
    accepted_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class PasswordReset(Base):
    """Whoever has the token may set this user's password, once."""

    __tablename__ = "password_resets"
    __table_args__ = (Index("ix_password_resets_user", "user_id"),)

    id: Mapped[RowId]
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    token_hash: Mapped[bytes]
    created_by: Mapped[UUID | None]
    created_at: Mapped[Now]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class TenantFeature(Base):
    """A part of the platform switched on or off for a tenant; without a row it is on."""

    __tablename__ = "tenant_features"

    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    enabled: Mapped[bool]


class AuditEvent(Base):
    """Who did what to what, from where. Written once: no runtime role may change or delete one.

    What concerns no single tenant stands under the nil UUID, which no tenant has.
    """

    __tablename__ = "audit_events"
    __table_args__ = (Index("ix_audit_events_id", "id"),)

    tenant_id: Mapped[TenantId]
    id: Mapped[RowId]
    at: Mapped[Now]
    actor_id: Mapped[UUID | None]
    actor: Mapped[str | None]  # the e-mail address then, or what was claimed to be one
    via: Mapped[str]  # session, api_key, break_glass, command or nobody
    via_id: Mapped[UUID | None]
    action: Mapped[str]
    object_type: Mapped[str | None]
    object_id: Mapped[str | None]
    address: Mapped[str | None]
    request_id: Mapped[str | None]
    before: Mapped[dict[str, Any] | None]
    after: Mapped[dict[str, Any] | None]
