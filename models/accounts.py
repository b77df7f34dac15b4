"""Tenants, the people in them, and what they may do."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, SmallInteger, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Now, RowId


class Tenant(Base):
    __tablename__ = "tenants"
    __table_args__ = (
        CheckConstraint("status IN ('active', 'suspended')", name="status"),
        CheckConstraint("weight BETWEEN 1 AND 100", name="weight"),
        CheckConstraint("max_running > 0", name="max_running"),
    )

    id: Mapped[RowId]
    name: Mapped[str] = mapped_column(unique=True)
    status: Mapped[str] = mapped_column(server_default="active")
    weight: Mapped[int] = mapped_column(SmallInteger, server_default="1")  # its share of the workers, against others'
    max_running: Mapped[int | None]  # jobs handed out at a time, at most
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
    """One sign-in. The refresh token rotates; only the hash of the newest is kept."""

    __tablename__ = "sessions"
    __table_args__ = (Index("ix_sessions_user", "user_id"),)

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
