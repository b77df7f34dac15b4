"""API keys as a tenant's administrators see them."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session as DbSession

from app.repositories.keyset import Key
from models import ApiKey, User


class KeyRow(NamedTuple):
    key: ApiKey
    email: str | None  # of whoever made it, while she is a member
    is_expired: bool  # by the database's clock


class ApiKeys:
    """Bound to a tenant."""

    def __init__(self, session: DbSession, tenant_id: UUID) -> None:
        self._session = session
        self._tenant_id = tenant_id

    def add(
        self,
        *,
        key_id: UUID,
        name: str,
        key_hash: bytes,
        permissions: list[str],
        created_by: UUID,
        expires_at: datetime,
    ) -> None:
        self._session.execute(
            sa.insert(ApiKey).values(
                tenant_id=self._tenant_id,
                id=key_id,
                name=name,
                key_hash=key_hash,
                permissions=permissions,
                created_by=created_by,
                expires_at=expires_at,
            )
        )

    def living(self) -> int:
        return self._session.scalar(sa.select(sa.func.count()).where(*self._living())) or 0

    def get(self, key_id: UUID) -> KeyRow | None:
        row = self._session.execute(self._rows().where(ApiKey.id == key_id)).one_or_none()
        return None if row is None else KeyRow(*row)

    def listing(self, *, after: Key | None, limit: int) -> list[KeyRow]:
        """Newest first, one more than `limit` if there are more."""
        query = self._rows().order_by(ApiKey.id.desc()).limit(limit + 1)
        if after is not None:
            query = query.where(ApiKey.id < after[0])
        return [KeyRow(*row) for row in self._session.execute(query)]

    def revoke(self, key_id: UUID) -> bool:
        """False when it was revoked before."""
        return (
            self._session.execute(
                sa.update(ApiKey)
                .where(ApiKey.tenant_id == self._tenant_id, ApiKey.id == key_id, ApiKey.revoked_at.is_(None))
                .values(revoked_at=sa.func.now())
                .returning(ApiKey.id)
            ).one_or_none()
            is not None
        )

    def _living(self) -> tuple[sa.ColumnElement[bool], ...]:
        return ApiKey.tenant_id == self._tenant_id, ApiKey.revoked_at.is_(None), ApiKey.expires_at > sa.func.now()

    def _rows(self) -> sa.Select[ApiKey, str | None, bool]:
        return (
            sa.select(ApiKey, User.email, ApiKey.expires_at <= sa.func.now())
            .outerjoin(User, User.id == ApiKey.created_by)
            .where(ApiKey.tenant_id == self._tenant_id)
        )
