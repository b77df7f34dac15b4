"""Idempotency keys: the first answer, replayed to whoever repeats the request."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.errors import IdempotencyKeyReused, RequestInFlight
from models import IdempotencyKey

KEPT = sa.text("interval '24 hours'")


class IdempotencyKeys:
    def __init__(self, session: Session, tenant_id: UUID) -> None:
        self._session = session
        self._tenant_id = tenant_id

    def claim(self, route: str, key: str, body_hash: bytes) -> IdempotencyKey | None:
        """Take the key for this transaction; the earlier answer if there is one.

        :raises RequestInFlight: another request holds the key right now
        :raises IdempotencyKeyReused: the key came before with another body
        """
        got = self._session.scalar(
            sa.select(
                sa.func.pg_try_advisory_xact_lock(sa.func.hashtextextended(f"{self._tenant_id} {route} {key}", 0))
            )
        )
        if not got:
            raise RequestInFlight
        earlier = self._session.scalars(
            sa.select(IdempotencyKey).where(*self._is(route, key), IdempotencyKey.created_at > sa.func.now() - KEPT)
        ).one_or_none()
        if earlier is not None and earlier.body_hash != body_hash:
            raise IdempotencyKeyReused
        return earlier

    def keep(
        self, route: str, key: str, body_hash: bytes, *, status_code: int, location: str, answer: dict[str, Any]
    ) -> None:
        self._session.execute(sa.delete(IdempotencyKey).where(*self._is(route, key)))
        self._session.add(
            IdempotencyKey(
                tenant_id=self._tenant_id,
                route=route,
                key=key,
                body_hash=body_hash,
                status_code=status_code,
                location=location,
                answer=answer,
            )
        )
        self._session.flush()

    def _is(self, route: str, key: str) -> tuple[sa.ColumnElement[bool], ...]:
        return (
            IdempotencyKey.tenant_id == self._tenant_id,
            IdempotencyKey.route == route,
            IdempotencyKey.key == key,
        )
