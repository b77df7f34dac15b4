"""Users over all tenants, under the system role: being one, being disabled, getting a password anew."""

from __future__ import annotations

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session as DbSession

from models import PasswordReset, User


class People:
    def __init__(self, session: DbSession) -> None:
        self._session = session

    def find(self, user_id: UUID, *, locked: bool = False) -> User | None:
        query = sa.select(User).where(User.id == user_id)
        return self._session.scalars(query.with_for_update(of=User) if locked else query).one_or_none()

    def hold(self, user_id: UUID) -> User | None:
        """As she is now, and stays until the transaction ends: what changes her waits, or was waited for."""
        query = sa.select(User).where(User.id == user_id).with_for_update(read=True)
        return self._session.scalars(query).one_or_none()

    def add(self, email: str, password_hash: str) -> User | None:
        """None: somebody of that address was made a moment ago."""
        query = insert(User).values(email=email, password_hash=password_hash).on_conflict_do_nothing()
        return self._session.scalars(query.returning(User)).one_or_none()

    def set_status(self, user_id: UUID, status: str) -> bool:
        """False: that was it already. Tokens that are out lose their version."""
        query = sa.update(User).where(User.id == user_id, User.status != status)
        values = {"status": status, "authz_version": User.authz_version + 1}
        return self._session.execute(query.values(values).returning(User.id)).one_or_none() is not None

    def add_reset(
        self, *, reset_id: UUID, user_id: UUID, token_hash: bytes, created_by: UUID, seconds: int
    ) -> PasswordReset:
        query = (
            sa.insert(PasswordReset)
            .values(
                id=reset_id,
                user_id=user_id,
                token_hash=token_hash,
                created_by=created_by,
                expires_at=sa.func.now() + sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds),
            )
            .returning(PasswordReset)
        )
        return self._session.scalars(query).one()

    def open_reset(self, reset_id: UUID, token_hash: bytes) -> PasswordReset | None:
        query = sa.select(PasswordReset).where(
            PasswordReset.id == reset_id, PasswordReset.token_hash == token_hash, *_OPEN
        )
        return self._session.scalars(query).one_or_none()

    def spend_reset(self, reset_id: UUID) -> bool:
        """False: it was used, or another password was set, a moment ago."""
        query = sa.update(PasswordReset).where(PasswordReset.id == reset_id, *_OPEN)
        spent = self._session.execute(query.values(used_at=sa.func.now()).returning(PasswordReset.id))
        return spent.one_or_none() is not None

    def spend_resets_of(self, user_id: UUID) -> None:
        query = sa.update(PasswordReset).where(PasswordReset.user_id == user_id, *_OPEN)
        self._session.execute(query.values(used_at=sa.func.now()))


_OPEN = (PasswordReset.used_at.is_(None), PasswordReset.expires_at > sa.func.now())
