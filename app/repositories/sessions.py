"""Sessions as people see them: which are open, and ending them."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session as DbSession

from app.repositories.keyset import Key
from models import Session, Tenant


class OpenSession(NamedTuple):
    session: Session
    tenant: Tenant


class Sessions:
    """Bound to a tenant, or (`None`, system role) to none: then over all of a user's tenants."""

    def __init__(self, session: DbSession, tenant_id: UUID | None) -> None:
        self._session = session
        self._tenant_id = tenant_id

    def open_of(self, user_id: UUID, *, after: Key | None, limit: int) -> list[OpenSession]:
        """Newest first, one more than `limit` if there are more."""
        query = (
            sa.select(Session, Tenant)
            .join(Tenant, Tenant.id == Session.tenant_id)
            .where(Session.user_id == user_id, *self._open())
            .order_by(Session.id.desc())
            .limit(limit + 1)
        )
        if after is not None:
            query = query.where(Session.id < after[0])
        return [OpenSession(*row) for row in self._session.execute(query)]

    def end(
        self, session_id: UUID, *, user_id: UUID | None = None, refresh_hash: bytes | None = None
    ) -> Session | None:
        """The session that ended by this; None when there was none open, of that user, with that token."""
        query = sa.update(Session).where(Session.id == session_id, *self._open())
        if user_id is not None:
            query = query.where(Session.user_id == user_id)
        if refresh_hash is not None:
            query = query.where(Session.refresh_hash == refresh_hash)
        return self._session.scalars(query.values(revoked_at=sa.func.now()).returning(Session)).one_or_none()

    def end_all(self, user_id: UUID, *, but: UUID | None = None) -> list[Session]:
        query = sa.update(Session).where(Session.user_id == user_id, *self._open())
        if but is not None:
            query = query.where(Session.id != but)
        return list(self._session.scalars(query.values(revoked_at=sa.func.now()).returning(Session)))

    def _open(self) -> list[sa.ColumnElement[bool]]:
        here = [] if self._tenant_id is None else [Session.tenant_id == self._tenant_id]
        return [*here, Session.revoked_at.is_(None), Session.expires_at > sa.func.now()]
