"""Invitations: `Invitations` inside the tenant that asks, `Invited` for whoever comes with a token."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session as DbSession

from app.repositories.keyset import Key
from models import Invitation, Role, Tenant, User, UserRole


@dataclass(frozen=True, slots=True)
class InvitationView:
    invitation: Invitation
    role: str
    inviter: str | None  # None: no member any more


class Invitations:
    def __init__(self, session: DbSession, tenant_id: UUID) -> None:
        self._session = session
        self._tenant_id = tenant_id

    def lock(self, email: str) -> None:
        """Of two invitations of one address at once, one replaces the other."""
        key = sa.func.hashtextextended(f"invitation {self._tenant_id} {email}", 0)
        self._session.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))

    def is_member(self, email: str) -> bool:
        query = (
            sa.select(User.id)
            .join(UserRole, UserRole.user_id == User.id)
            .where(sa.func.lower(User.email) == email, UserRole.tenant_id == self._tenant_id)
            .limit(1)
        )
        return self._session.scalar(query) is not None

    def add(
        self, *, invitation_id: UUID, email: str, role_id: int, token_hash: bytes, created_by: UUID, seconds: int
    ) -> Invitation:
        query = (
            sa.insert(Invitation)
            .values(
                tenant_id=self._tenant_id,
                id=invitation_id,
                email=email,
                role_id=role_id,
                token_hash=token_hash,
                created_by=created_by,
                expires_at=sa.func.now() + sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds),
            )
            .returning(Invitation)
        )
        return self._session.scalars(query).one()

    def open(self, *, after: Key | None, limit: int) -> list[InvitationView]:
        """Newest first, one more than `limit` if there are more."""
        query = (
            sa.select(Invitation, Role.name, User.email)
            .join(Role, Role.id == Invitation.role_id)
            .outerjoin(User, User.id == Invitation.created_by)
            .where(*self._open())
            .order_by(Invitation.id.desc())
            .limit(limit + 1)
        )
        if after is not None:
            query = query.where(Invitation.id < after[0])
        return [InvitationView(*row) for row in self._session.execute(query)]

    def revoke(self, *, invitation_id: UUID | None = None, email: str | None = None) -> list[Invitation]:
        """End the open ones of that id, or to that address; which they were."""
        query = sa.update(Invitation).where(*self._open())
        query = query.where(Invitation.id == invitation_id if email is None else Invitation.email == email)
        return list(self._session.scalars(query.values(revoked_at=sa.func.now()).returning(Invitation)))

    def _open(self) -> list[sa.ColumnElement[bool]]:
        return [Invitation.tenant_id == self._tenant_id, *_OPEN]


class Invited:
    def __init__(self, session: DbSession) -> None:
        self._session = session

    def find(self, invitation_id: UUID, token_hash: bytes) -> tuple[Invitation, Tenant] | None:
        """An open one, and where it leads."""
        query = (
            sa.select(Invitation, Tenant)
            .join(Tenant, Tenant.id == Invitation.tenant_id)
            .where(Invitation.id == invitation_id, Invitation.token_hash == token_hash, *_OPEN)
        )
        row = self._session.execute(query).one_or_none()
        return None if row is None else (row[0], row[1])

    def accept(self, invitation_id: UUID) -> bool:
        """False: it was accepted, replaced or withdrawn a moment ago."""
        query = (
            sa.update(Invitation)
            .where(Invitation.id == invitation_id, *_OPEN)
            .values(accepted_at=sa.func.now())
            .returning(Invitation.id)
        )
        return self._session.execute(query).one_or_none() is not None


_OPEN = (Invitation.accepted_at.is_(None), Invitation.revoked_at.is_(None), Invitation.expires_at > sa.func.now())
