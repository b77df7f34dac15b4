"""Whose a session or an API key is, as long as it lives (system role)."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session as DbSession
from sqlalchemy.orm import aliased

from models import ApiKey, Permission, RolePermission, Session, Tenant, User, UserRole

OPENS_TENANTS = "platform:tenants"  # what break-glass wants, wherever it is held


@dataclass(frozen=True, slots=True)
class LiveSession:
    user_id: UUID
    is_break_glass: bool


@dataclass(frozen=True, slots=True)
class LiveKey:
    tenant_id: UUID
    user_id: UUID
    digest: bytes
    permissions: frozenset[str]
    used_lately: bool


@dataclass(frozen=True, slots=True)
class Opener:
    """Somebody who may look into any tenant at this moment."""

    email: str
    version: int


class Credentials:
    def __init__(self, session: DbSession) -> None:
        self._session = session

    def session(self, session_id: UUID, tenant_id: UUID) -> LiveSession | None:
        """None when it was revoked or has expired, by the database's clock."""
        query = sa.select(Session.user_id, Session.reason.is_not(None)).where(
            Session.id == session_id,
            Session.tenant_id == tenant_id,
            Session.revoked_at.is_(None),
            Session.expires_at > sa.func.now(),
        )
        row = self._session.execute(query).one_or_none()
        return None if row is None else LiveSession(*row)

    def api_key(self, key_id: UUID) -> LiveKey | None:
        """None when it was revoked or has expired, by the database's clock."""
        a_minute_ago = sa.func.now() - sa.func.make_interval(0, 0, 0, 0, 0, 1)
        lately = sa.func.coalesce(ApiKey.last_used_at > a_minute_ago, sa.false())
        query = sa.select(ApiKey.tenant_id, ApiKey.created_by, ApiKey.key_hash, ApiKey.permissions, lately).where(
            ApiKey.id == key_id, ApiKey.revoked_at.is_(None), ApiKey.expires_at > sa.func.now()
        )
        row = self._session.execute(query).one_or_none()
        return None if row is None else LiveKey(row[0], row[1], row[2], frozenset(row[3]), row[4])

    def key_was_used(self, key_id: UUID, tenant_id: UUID) -> None:
        self._session.execute(
            sa.update(ApiKey)
            .where(ApiKey.tenant_id == tenant_id, ApiKey.id == key_id)
            .values(last_used_at=sa.func.now())
        )

    def opener(self, user_id: UUID) -> Opener | None:
        """None unless she is active and holds the permission for that in some active tenant."""
        home = aliased(Tenant)
        opens = (
            sa.select(UserRole.user_id)
            .join(home, home.id == UserRole.tenant_id)
            .join(RolePermission, RolePermission.role_id == UserRole.role_id)
            .join(Permission, Permission.id == RolePermission.permission_id)
            .where(UserRole.user_id == User.id, home.status == "active", Permission.name == OPENS_TENANTS)
        )
        query = sa.select(User.email, User.authz_version).where(
            User.id == user_id, User.status == "active", opens.exists()
        )
        row = self._session.execute(query).one_or_none()
        return None if row is None else Opener(*row)
