"""Users, memberships and sessions: `SignIn` before a tenant is known (system role), `Accounts` inside one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session as DbSession

from models import Permission, Role, RolePermission, Session, Tenant, User, UserRole

ADMINISTRATORS = 0x5C0A  # the advisory lock of whoever makes the first or might unmake the last


@dataclass(frozen=True, slots=True)
class Membership:
    """A user in one tenant: everything a permission check asks for."""

    user: User
    tenant: Tenant
    roles: frozenset[str]
    permissions: frozenset[str]


class SignIn:
    def __init__(self, session: DbSession) -> None:
        self._session = session

    def user_by_email(self, email: str) -> User | None:
        return self._session.scalars(sa.select(User).where(sa.func.lower(User.email) == email.lower())).one_or_none()

    def tenant_named(self, name: str) -> Tenant | None:
        wanted = sa.func.lower(Tenant.name) == sa.func.lower(name)
        return self._session.scalars(sa.select(Tenant).where(wanted)).one_or_none()

    def first_tenant(self) -> Tenant | None:
        return self._session.scalars(sa.select(Tenant).order_by(Tenant.created_at, Tenant.id).limit(1)).one_or_none()

    def tenants_of(self, user_id: UUID) -> list[Tenant]:
        """Where the user is a member, oldest membership first."""
        query = (
            sa.select(Tenant)
            .join(UserRole, UserRole.tenant_id == Tenant.id)
            .where(UserRole.user_id == user_id)
            .group_by(Tenant.id)
            .order_by(sa.func.min(UserRole.created_at), Tenant.id)
        )
        return list(self._session.scalars(query))

    def membership(self, user_id: UUID, tenant_id: UUID) -> Membership | None:
        """None unless the user is a member; one query for the user, the tenant, roles and permissions."""
        query = (
            sa.select(User, Tenant, sa.func.array_agg(sa.distinct(Role.name)), sa.func.array_agg(Permission.name))
            .join(UserRole, UserRole.user_id == User.id)
            .join(Tenant, Tenant.id == UserRole.tenant_id)
            .join(Role, Role.id == UserRole.role_id)
            .outerjoin(RolePermission, RolePermission.role_id == Role.id)
            .outerjoin(Permission, Permission.id == RolePermission.permission_id)
            .where(User.id == user_id, Tenant.id == tenant_id)
            .group_by(User.id, Tenant.id)
        )
        row = self._session.execute(query).one_or_none()
        if row is None:
            return None
        return Membership(row[0], row[1], frozenset(row[2]), frozenset(name for name in row[3] if name))

    def open_session(
        self,
        *,
        session_id: UUID,
        tenant_id: UUID,
        user_id: UUID,
        refresh_hash: bytes,
        seconds: int,
        user_agent: str | None,
        address: str | None,
        reason: str | None = None,
    ) -> datetime:
        """When it ends; with a reason it is break-glass."""
        return self._session.execute(
            sa.insert(Session)
            .values(
                id=session_id,
                tenant_id=tenant_id,
                user_id=user_id,
                refresh_hash=refresh_hash,
                expires_at=sa.func.now() + sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds),
                user_agent=user_agent,
                address=address,
                reason=reason,
            )
            .returning(Session.expires_at)
        ).scalar_one()

    def rotate(self, session_id: UUID, *, old_hash: bytes, new_hash: bytes, seconds: int) -> Session | None:
        """Compare and swap: None when the old token is not the newest of a living session.

        Break-glass is not prolonged by it.
        """
        later = sa.func.now() + sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds)
        query = (
            sa.update(Session)
            .where(
                Session.id == session_id,
                Session.refresh_hash == old_hash,
                Session.revoked_at.is_(None),
                Session.expires_at > sa.func.now(),
            )
            .values(
                refresh_hash=new_hash,
                last_used_at=sa.func.now(),
                expires_at=sa.case((Session.reason.is_(None), later), else_=Session.expires_at),
            )
            .returning(Session)
        )
        return self._session.scalars(query).one_or_none()

    def add_user(self, email: str, password_hash: str) -> User:
        user = User(email=email, password_hash=password_hash)
        self._session.add(user)
        self._session.flush()
        return user

    def set_password(self, user_id: UUID, password_hash: str) -> None:
        self._session.execute(
            sa.update(User)
            .where(User.id == user_id)
            .values(password_hash=password_hash, authz_version=User.authz_version + 1)
        )

    def assign(self, user_id: UUID, tenant_id: UUID, role: str) -> None:
        """Give a built-in role; harmless when already given."""
        role_id = self._session.scalar(sa.select(Role.id).where(Role.name == role, Role.tenant_id.is_(None)))
        exists = sa.select(UserRole).where(
            UserRole.user_id == user_id, UserRole.tenant_id == tenant_id, UserRole.role_id == role_id
        )
        if self._session.scalars(exists).one_or_none() is None:
            self._session.add(UserRole(tenant_id=tenant_id, user_id=user_id, role_id=role_id))
            self._session.flush()

    def has_platform_admin(self) -> bool:
        query = sa.select(
            sa.exists().where(Role.name == "platform_admin", Role.tenant_id.is_(None), UserRole.role_id == Role.id)
        )
        return bool(self._session.scalar(query))

    def lock_bootstrap(self) -> None:
        """Two starting processes must not create two administrators."""
        self._session.execute(sa.select(sa.func.pg_advisory_xact_lock(ADMINISTRATORS)))


class Accounts:
    def __init__(self, session: DbSession, tenant_id: UUID) -> None:
        self._session = session
        self._tenant_id = tenant_id

    def tenant(self) -> Tenant | None:
        return self._session.scalars(sa.select(Tenant).where(Tenant.id == self._tenant_id)).one_or_none()
